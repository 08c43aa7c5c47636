//! Opening the file: mode, pragmas, migrations, and a clear word for a file that cannot be used.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::Read,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{DbError, error::Place};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Marks the file as croft's: "crft".
const APPLICATION_ID: i64 = 0x6372_6674;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// How long `SQLite` itself waits for a lock of the writer; the rest of the patience is croft's.
const SHORT_WAIT: Duration = Duration::from_millis(20);
/// How many rows may wait between `SQLite`'s thread and the reader.
const ROW_BUFFER: usize = 1024;
const READERS: u32 = 4;

/// Makes the file for its owner alone if there is none, and refuses what is no database.
pub(super) fn prepare_file(path: &Path) -> Result<(), DbError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(Place::io(directory))?;
    }
    let mut file = open_file(path)?;
    let mut head = Vec::with_capacity(MAGIC.len());
    file.by_ref().take(16).read_to_end(&mut head).map_err(Place::io(path))?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(DbError::NotADatabase { path: path.to_path_buf() })
}

/// Closes the file to all but its owner. Only for a file that is known to be croft's.
fn make_private(path: &Path) -> Result<(), DbError> {
    let mode = std::fs::metadata(path).map_err(Place::io(path))?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700)).map_err(Place::io(path))?;
    }
    Ok(())
}

fn open_file(path: &Path) -> Result<File, DbError> {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied if path.exists() => {
            DbError::ReadOnly { path: path.to_path_buf() }
        }
        _ => Place::io(path)(error),
    })
}

/// How the writer's connection is opened.
pub(super) fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SHORT_WAIT)
        .row_buffer_size(ROW_BUFFER)
}

/// A small pool of connections that cannot write.
pub(super) fn readers(path: &Path, patience: Duration) -> SqlitePool {
    let options = writer_options(path).busy_timeout(patience).pragma("query_only", "1");
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(patience)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Connects and brings the schema up to date; of several processes at once, one does it and the others wait.
pub(super) async fn connect(
    options: &SqliteConnectOptions,
    place: &Place,
    patience: Duration,
) -> Result<SqliteConnection, DbError> {
    let start = Instant::now();
    loop {
        match connect_once(options, place).await {
            Err(DbError::Busy { .. }) if start.elapsed() < patience => {
                tokio::time::sleep(SHORT_WAIT).await;
            }
            Err(DbError::Busy { path, .. }) => return Err(DbError::Busy { path, waited: start.elapsed() }),
            other => return other,
        }
    }
}

async fn connect_once(options: &SqliteConnectOptions, place: &Place) -> Result<SqliteConnection, DbError> {
    let is_new = probe(place).await?;
    make_private(place.path())?;
    let opened = SqliteConnection::connect_with(options).await;
    let mut conn = opened.map_err(place.failed("opening the database"))?;
    migrate(&mut conn, place, is_new).await?;
    Ok(conn)
}

/// Refuses another program's database before anything is changed in it; says whether the database is empty.
async fn probe(place: &Place) -> Result<bool, DbError> {
    let options = SqliteConnectOptions::new().filename(place.path()).busy_timeout(SHORT_WAIT);
    let opened = SqliteConnection::connect_with(&options).await;
    let mut conn = opened.map_err(place.failed("opening the database"))?;
    let found: (i64, i64) = sqlx::query_as(
        "SELECT application_id, (SELECT COUNT(*) FROM sqlite_schema) FROM pragma_application_id",
    )
    .fetch_one(&mut conn)
    .await
    .map_err(place.failed("reading the application id"))?;
    // Nothing was written: closing cannot lose anything.
    let _ = conn.close().await;
    match found {
        (APPLICATION_ID, _) => Ok(false),
        (0, 0) => Ok(true),
        (found, _) => Err(DbError::Foreign { path: place.path().to_path_buf(), found }),
    }
}

/// All missing migrations in one transaction, under the write lock.
async fn migrate(conn: &mut SqliteConnection, place: &Place, is_new: bool) -> Result<(), DbError> {
    let begun = conn.begin_with("BEGIN IMMEDIATE").await;
    let mut txn = begun.map_err(place.failed("beginning the migrations"))?;
    if is_new {
        let failed = place.failed("marking the database");
        sqlx::query("PRAGMA application_id = 1668441716").execute(&mut *txn).await.map_err(failed)?;
    }
    MIGRATIONS.run_direct(None, &mut *txn, false).await.map_err(|error| explain(error, place))?;
    txn.commit().await.map_err(place.failed("committing the migrations"))
}

fn explain(error: MigrateError, place: &Place) -> DbError {
    let path = place.path().to_path_buf();
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(found) if found > known => DbError::Newer { path, found, known },
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
            DbError::Diverged { path, version }
        }
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            place.classify("migrating the schema", source)
        }
        other => place.classify("migrating the schema", sqlx::Error::Migrate(Box::new(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_in_the_pragma_is_the_mark_that_is_looked_for() {
        assert_eq!(APPLICATION_ID, 1_668_441_716);
    }

    #[tokio::test]
    async fn the_writer_is_durable_and_keeps_references() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("croft.db");
        prepare_file(&path).unwrap();
        let place = Place::new(&path);
        let mut conn = connect(&writer_options(&path), &place, Duration::from_secs(9)).await.unwrap();
        let (journal, synchronous, references): (String, i64, i64) =
            sqlx::query_as("SELECT * FROM pragma_journal_mode, pragma_synchronous, pragma_foreign_keys")
                .fetch_one(&mut conn)
                .await
                .unwrap();
        assert_eq!((journal.as_str(), synchronous, references), ("wal", 2, 1), "2 is FULL");
    }
}
