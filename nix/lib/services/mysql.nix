# MySQL and MariaDB: whichever of mariadbd and mysqld is in `package`/bin.
{
  package,
  name ? "mysql",
  database ? "croft",
  arguments ? [ ], # more for the server
  limit ? 120, # seconds until it has to answer
}:
let
  data = "\"$croft_top/${name}\"";
  socket = "\"$CROFT_RUN/${name}.sock\"";
in
{
  inherit name;
  start = ''
    mkdir -p ${data} "$croft_top/${name}-tmp"
    printf 'CREATE DATABASE IF NOT EXISTS `%s` CHARACTER SET utf8mb4;\n' '${database}' > "$croft_dir/${name}-init.sql"
    if [ -x ${package}/bin/mariadbd ]; then
      croft_server=${package}/bin/mariadbd
      # The installing script wants perl and more; the server can do it from the same SQL.
      for croft_sql in ${package}/share/mariadb ${package}/share/mysql; do
        [ ! -e "$croft_sql/fill_help_tables.sql" ] || break
      done
      {
        printf 'create database mysql;\nuse mysql;\n'
        for croft_part_sql in system_tables performance_tables system_tables_data; do cat "$croft_sql"/m*_$croft_part_sql.sql; done
        cat "$croft_sql/fill_help_tables.sql" "$croft_sql/maria_add_gis_sp_bootstrap.sql"
      } > "$croft_dir/${name}-boot.sql" 2>> "$croft_log" || croft_service_break "has no SQL to set itself up with in ${package}/share"
      croft_once "$croft_server" --no-defaults --bootstrap --datadir=${data} --tmpdir="$croft_top/${name}-tmp" --log-warnings=0 \
        --max-allowed-packet=8M --default-storage-engine=innodb < "$croft_dir/${name}-boot.sql"
      set -- --skip-log-bin
    else
      croft_server=${package}/bin/mysqld
      croft_once "$croft_server" --no-defaults --initialize-insecure --secure-file-priv=NULL --datadir=${data} --tmpdir="$croft_top/${name}-tmp"
      set -- --mysqlx=OFF --secure-file-priv=NULL --disable-log-bin
    fi
    croft_spawn "$croft_server" --no-defaults --datadir=${data} --tmpdir="$croft_top/${name}-tmp" --socket=${socket} \
      --pid-file="$CROFT_RUN/${name}.pid" --skip-networking --character-set-server=utf8mb4 --init-file="$croft_dir/${name}-init.sql" \
      --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=256M "$@" ${builtins.concatStringsSep " " arguments}
    croft_mysql_ready() { [ -S ${socket} ] && croft_says 'ready for connections'; }
    croft_ready ${toString limit} croft_mysql_ready
  '';
  stop = "croft_kill";
  env = {
    MYSQL_UNIX_PORT = "$CROFT_RUN/${name}.sock";
    DATABASE_URL = "mysql://root@localhost/${database}?unix_socket=$CROFT_RUN/${name}.sock";
    CROFT_DB_ENGINE = "mysql";
    CROFT_DB_HOST = "localhost";
    CROFT_DB_SOCKET = "$CROFT_RUN/${name}.sock";
    CROFT_DB_NAME = database;
    CROFT_DB_USER = "root";
    CROFT_DB_PASSWORD = "";
  };
}
