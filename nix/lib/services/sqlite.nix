# SQLite has no server; this is the same set of variables with a file behind it.
{
  package ? null, # taken so that an axis of databases can be written alike; the library is the interpreter's business
  name ? "sqlite",
  file ? "$croft_top/croft.sqlite3",
}:
{
  inherit name;
  start = "";
  stop = "";
  env = {
    DATABASE_URL = "sqlite:///${file}";
    CROFT_DB_ENGINE = "sqlite";
    CROFT_DB_HOST = "";
    CROFT_DB_SOCKET = "";
    CROFT_DB_NAME = file;
    CROFT_DB_USER = "";
    CROFT_DB_PASSWORD = "";
  };
}
