# The axes as data. `package` is the attribute of the package set, `django` the series that supports the interpreter.
{
  python = {
    "2.7" = { package = "python27"; django = "1.11"; };
    "3.9" = { package = "python39"; django = "4.2"; };
    "3.11" = { package = "python311"; django = "5.2"; };
    "3.13" = { package = "python313"; django = "6.1"; };
    "3.14" = { package = "python314"; django = "6.1"; };
    "3.15" = { package = "python315"; django = "6.1"; };
    "pypy3.7" = { package = "pypy37"; django = "3.2"; };
    "pypy3.11" = { package = "pypy311"; django = "5.2"; };
    "pypy3.11-v8" = { package = "pypy311_80"; django = "5.2"; };
  };

  database = {
    sqlite = { service = "sqlite"; }; # the interpreter's own
    "postgresql-13" = { package = "postgresql_13"; service = "postgresql"; };
    "postgresql-15" = { package = "postgresql_15"; service = "postgresql"; };
    "postgresql-17" = { package = "postgresql_17"; service = "postgresql"; };
    "postgresql-18" = { package = "postgresql_18"; service = "postgresql"; };
    "mariadb-10.5" = { package = "mariadb_105"; service = "mariadb"; };
    "mariadb-10.11" = { package = "mariadb_1011"; service = "mariadb"; };
    "mariadb-11.8" = { package = "mariadb_118"; service = "mariadb"; };
    "mysql-9.7" = { package = "mysql97"; service = "mysql"; };
  };

  # What a series of Django refuses to work with. It has to say so: a cell that runs there is a failure.
  refuses = {
    "5.2" = [ "postgresql-13" ];
    "6.1" = [ "postgresql-13" "mariadb-10.5" ];
  };
}
