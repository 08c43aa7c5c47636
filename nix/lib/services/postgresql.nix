# PostgreSQL, any version with initdb and postgres in `package`/bin; no client is needed.
{
  package,
  name ? "postgresql",
  user ? "croft", # a superuser without a password
  database ? "croft",
  settings ? { }, # more of postgresql.conf
  limit ? 120, # seconds until it has to answer
}:
let
  # The data lives as long as the build: durability is waste. jit is off because it makes small queries slower, and
  # needs an LLVM that is often left out.
  all = {
    listen_addresses = "";
    unix_socket_directories = "$CROFT_RUN";
    fsync = "off";
    synchronous_commit = "off";
    full_page_writes = "off";
    jit = "off";
    shared_buffers = "128MB";
    max_connections = 50;
    max_locks_per_transaction = 256;
  }
  // settings;
  options = builtins.concatStringsSep " " (
    builtins.attrValues (builtins.mapAttrs (key: value: "-c \"${key}=${toString value}\"") all)
  );
  data = "\"$croft_top/${name}\"";
in
{
  inherit name;
  start = ''
    croft_once ${package}/bin/initdb -D ${data} -U ${user} -A trust -E UTF8 --locale=C.UTF-8 -N
    croft_once ${package}/bin/postgres --single -D ${data} postgres <<'CROFT_SQL'
    CREATE DATABASE "${database}";
    CROFT_SQL
    croft_spawn ${package}/bin/postgres -D ${data} ${options}
    if [ -x ${package}/bin/pg_isready ]; then
      croft_ready ${toString limit} ${package}/bin/pg_isready -q -h "$CROFT_RUN" -U ${user} -d postgres
    else
      croft_ready ${toString limit} croft_says 'ready to accept connections'
    fi
  '';
  stop = "croft_kill";
  env = {
    PGHOST = "$CROFT_RUN";
    PGPORT = "5432";
    PGUSER = user;
    PGDATABASE = database;
    DATABASE_URL = "postgresql://${user}@/${database}?host=$CROFT_RUN";
    CROFT_DB_ENGINE = "postgresql";
    CROFT_DB_HOST = "$CROFT_RUN";
    CROFT_DB_SOCKET = "$CROFT_RUN/.s.PGSQL.5432";
    CROFT_DB_NAME = database;
    CROFT_DB_USER = user;
    CROFT_DB_PASSWORD = "";
  };
}
