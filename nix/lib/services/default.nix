# Real servers inside a build, on a unix socket. A service is { name; start; stop; env; }: shell text that calls the
# functions of runtime/services.sh, and variables for the script, expanded by the shell ("$CROFT_RUN/…").
let
  mysql = import ./mysql.nix;
  redis = import ./redis.nix;
in
{
  postgresql = import ./postgresql.nix;
  inherit mysql redis;
  mariadb = args: mysql ({ name = "mariadb"; } // args);
  valkey = args: redis ({ name = "valkey"; } // args);
  sqlite = import ./sqlite.nix;
}
