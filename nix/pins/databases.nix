# The servers. On nixpkgs the same names hold the same programs.
{ package, debian }:
let
  postgresql =
    major:
    package {
      pname = "postgresql";
      set = debian."postgresql_${major}";
      main = "postgresql-${major}";
      folders = [ "/usr/lib/postgresql/${major}/bin" ];
    };
  mariadb =
    attr: main:
    package {
      pname = "mariadb";
      set = debian.${attr};
      inherit main;
      programs = {
        mariadbd = "/usr/sbin/mariadbd";
        mariadb = "/usr/bin/mariadb";
        mysql = "/usr/bin/mariadb";
      };
    };
  redis =
    pname:
    package {
      inherit pname;
      set = debian.${pname};
      main = "${pname}-server";
      programs = {
        "${pname}-server" = "/usr/bin/${pname}-server";
        "${pname}-cli" = "/usr/bin/${pname}-cli";
      };
    };
in
{
  postgresql_13 = postgresql "13";
  postgresql_15 = postgresql "15";
  postgresql_17 = postgresql "17";
  postgresql_18 = postgresql "18";
  mariadb_105 = mariadb "mariadb_105" "mariadb-server-core-10.5";
  mariadb_1011 = mariadb "mariadb_1011" "mariadb-server-core";
  mariadb_118 = mariadb "mariadb_118" "mariadb-server-core";
  mysql97 = package {
    pname = "mysql";
    set = debian.mysql97;
    main = "mysql-server-core";
    programs = {
      mysqld = "/usr/sbin/mysqld";
      mysql = "/usr/bin/mysql";
    };
  };
  sqlite = package {
    pname = "sqlite";
    set = debian.sqlite;
    main = "sqlite3";
    programs.sqlite3 = "/usr/bin/sqlite3";
  };
  redis = redis "redis";
  valkey = redis "valkey";
}
