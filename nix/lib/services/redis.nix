# Redis and Valkey: whichever of valkey-server and redis-server is in `package`/bin.
{
  package,
  name ? "redis",
  arguments ? [ ], # more for the server
  limit ? 60, # seconds until it has to answer
}:
{
  inherit name;
  start = ''
    croft_server=${package}/bin/valkey-server
    [ -x "$croft_server" ] || croft_server=${package}/bin/redis-server
    mkdir -p "$croft_top/${name}"
    croft_spawn "$croft_server" --port 0 --unixsocket "$CROFT_RUN/${name}.sock" --dir "$croft_top/${name}" --save "" --appendonly no ${builtins.concatStringsSep " " arguments}
    croft_redis_ready() { [ -S "$CROFT_RUN/${name}.sock" ] && croft_says 'eady to accept connections'; }
    croft_ready ${toString limit} croft_redis_ready
  '';
  stop = "croft_kill";
  env = {
    REDIS_URL = "unix://$CROFT_RUN/${name}.sock";
    CROFT_REDIS_SOCKET = "$CROFT_RUN/${name}.sock";
  };
}
