//! Files that are missing, shared, foreign, newer, damaged, read-only, or on a full disk.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use croft::{
    clock::SystemClock,
    db::{Db, DbError, DbOptions, Fingerprint},
    lifecycle::CellState,
};

use crate::world::*;

async fn refusal(state: &Path) -> DbError {
    let options = DbOptions { busy_timeout: Duration::from_secs(2), ..DbOptions::in_state_dir(state) };
    Db::open(options, Arc::new(SystemClock)).await.map(|_| ()).unwrap_err()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Closes all connections, so that everything is in the one file.
async fn close(db: Db, state: &Path) {
    drop(db);
    execute(&mut raw(state).await, "PRAGMA wal_checkpoint(TRUNCATE)").await;
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let state = tempfile::tempdir().unwrap();
    let deep = state.path().join("a/b");
    let db = open(&deep).await;
    let owner = db.owner_register().await.unwrap();
    for name in ["croft.db", "croft.db-wal", "croft.db-shm"] {
        assert_eq!(mode(&deep.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&deep.join("owners").join(format!("{}.lock", owner.id()))), 0o600);
    assert_eq!(mode(&deep.join("owners")), 0o700);
    std::fs::set_permissions(deep.join("croft.db"), PermissionsExt::from_mode(0o644)).unwrap();
    open(&deep).await;
    assert_eq!(mode(&deep.join("croft.db")), 0o600);
}

#[tokio::test]
async fn many_processes_may_open_a_new_state_directory_at_once() {
    let state = tempfile::tempdir().unwrap();
    let opened = futures_util::future::join_all((0..8).map(|_| open(state.path()))).await;
    for db in &opened {
        db.owner_register().await.unwrap();
    }
    assert_eq!(opened[0].check().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("croft.db");
    std::fs::write(&path, "dear diary, today").unwrap();
    let error = refusal(state.path()).await;
    assert!(matches!(error, DbError::NotADatabase { .. }), "{error}");
    assert!(error.to_string().contains("croft.db is not a database"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"dear diary, today");
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("croft.db");
    let made = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut conn = sqlx::ConnectOptions::connect(&made).await.unwrap();
    execute(&mut conn, "CREATE TABLE bookmarks (url TEXT)").await;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refusal(state.path()).await;
    assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (before, 0o644));
    assert!(matches!(error, DbError::Foreign { found: 0, .. }), "{error}");
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema").fetch_all(&mut conn).await.unwrap();
    assert_eq!(tables, ["bookmarks"]);
}

#[tokio::test]
async fn a_newer_or_a_different_schema_is_refused_with_its_number() {
    let state = tempfile::tempdir().unwrap();
    drop(open(state.path()).await);
    let mut raw = raw(state.path()).await;
    execute(
        &mut raw,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of the future', 1, x'00', 0)",
    )
    .await;
    let error = refusal(state.path()).await;
    assert!(matches!(error, DbError::Newer { found: 9999, known: 1.., .. }), "{error}");
    execute(&mut raw, "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    execute(&mut raw, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    let error = refusal(state.path()).await;
    assert!(matches!(error, DbError::Diverged { version: 1, .. }), "{error}");
}

#[tokio::test]
async fn rows_live_through_migrations_that_have_run_before() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    db.cell_insert_many(id, vec![cell(1, CellState::Build)]).await.unwrap();
    close(db, state.path()).await;
    let db = open(state.path()).await;
    let kept = db.cell_list(id).await.unwrap();
    assert_eq!(kept.into_iter().map(|record| record.cell).collect::<Vec<_>>(), [cell(1, CellState::Build)]);
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn cells_of_the_first_schema_are_those_of_their_runs_afterwards() {
    use sqlx::ConnectOptions;
    let state = tempfile::tempdir().unwrap();
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(state.path().join("croft.db"));
    let mut conn = file.create_if_missing(true).connect().await.unwrap();
    let first = sqlx::migrate!("migrations/sqlite").iter().next().unwrap().clone();
    let old = sqlx::migrate::Migrator { migrations: vec![first].into(), ..sqlx::migrate::Migrator::DEFAULT };
    old.run_direct(None, &mut conn, false).await.unwrap();
    let (one, two) = (new_run("django").id.to_string(), new_run("django").id.to_string());
    let fill = format!(
        "PRAGMA application_id = 1668441716;
         INSERT INTO owner VALUES ('{one}', 1, 1, 2);
         INSERT INTO run (seq, id, project, flake, cause, owner, state, verdict, started, ended) VALUES
            (4, '{one}', 'django', 'f', 'x', '{one}', 'finished', 'failed', 1, 2),
            (9, '{two}', 'django', 'f', 'x', '{one}', 'finished', 'failed', 3, 4);
         INSERT INTO cell (run, system, name, axes, drv, key, expect, external, state, final, reason, attempts, ms,
                           passed, failed, errors, skipped) VALUES
            (4, 'x86_64-linux', 'a', '{{}}', NULL, NULL, 'pass', 0, 'eval-error', 1, 'r1', 0, NULL, 1, 2, 3, 4),
            (4, 'x86_64-linux', 'b', '{{}}', NULL, NULL, 'fail', 1, 'infra', 1, NULL, 2, 5, NULL, NULL, NULL, NULL),
            (9, 'x86_64-linux', 'a', '{{}}', '{drv}', '{key}', 'pass', 0, 'infra', 1, 'r2', 0, 0, 0, 0, 0, 0);",
        drv = drv(3),
        key = key(3),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fill)).execute(&mut conn).await.unwrap();
    drop(conn);

    let db = open(state.path()).await;
    let cells = |run: String| {
        let db = db.clone();
        async move {
            let found = db.cell_list(run.parse().unwrap()).await.unwrap();
            let words = found.into_iter().map(|seen| {
                let cell = seen.cell;
                (
                    cell.name.to_string(),
                    cell.state,
                    cell.reason,
                    cell.attempts,
                    cell.duration_ms,
                    cell.tests.errors,
                )
            });
            words.collect::<Vec<_>>()
        }
    };
    let (a, b) = (|| "a".to_owned(), "b".to_owned());
    let broken = (a(), CellState::EvalError, Some("r1".to_owned()), 0, None, 3);
    assert_eq!(cells(one).await, [broken, (b, CellState::Infra, None, 2, Some(5), 0)]);
    assert_eq!(cells(two).await, [(a(), CellState::Infra, Some("r2".to_owned()), 0, Some(0), 0)]);
    let previous = db.cell_previous(&"django".to_owned().into(), &["a".parse().unwrap()]).await.unwrap();
    assert_eq!(previous.into_values().next().unwrap().key, key(3));
    assert_eq!(db.cell_history("a", 9).await.unwrap().len(), 2);
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    db.cell_insert_many(id, vec![cell(1, CellState::Build)]).await.unwrap();
    assert_eq!(db.cell_list(id).await.unwrap().len(), 1, "a new sheet takes nobody's number");
    assert_eq!(db.check().await.unwrap(), []);
}

/// Overwrites bytes of the file, as a bad disk would.
fn damage(path: &Path, offset: u64, length: usize) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xa5; length], offset).unwrap();
}

#[tokio::test]
async fn a_damaged_head_is_refused_at_the_door() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    close(db, state.path()).await;
    damage(&state.path().join("croft.db"), 100, 3_000);
    let error = refusal(state.path()).await;
    assert!(matches!(error, DbError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("restore an earlier copy"), "{error}");
    damage(&state.path().join("croft.db"), 0, 16);
    assert!(matches!(refusal(state.path()).await, DbError::NotADatabase { .. }));
}

#[tokio::test]
async fn damage_within_is_found_by_the_check_or_named_by_the_reader() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    db.cell_insert_many(id, (0..2_000).map(|n| cell(n, CellState::Build)).collect()).await.unwrap();
    close(db, state.path()).await;
    let path = state.path().join("croft.db");
    let size = std::fs::metadata(&path).unwrap().len();
    damage(&path, size / 2, 40_000);
    let db = open(state.path()).await;
    match db.check().await {
        Ok(findings) => assert!(findings.iter().any(|f| f.rule == "the file is undamaged"), "{findings:?}"),
        Err(error) => assert!(matches!(error, DbError::Corrupt { .. }), "{error:?}"),
    }
}

#[tokio::test]
async fn a_word_of_the_future_names_its_table_and_row() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    let mut raw = raw(state.path()).await;
    execute(&mut raw, "PRAGMA ignore_check_constraints = ON").await;
    execute(&mut raw, "UPDATE run SET state = 'dreaming'").await;
    let error = db.run_get(&id.to_string()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("table run, row {id}: column state holds \"dreaming\"")), "{error}");
}

/// A small disk of its own; unmounted at the end.
struct Disk {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Disk {
    /// `None` where mounting is refused.
    #[expect(clippy::print_stderr, reason = "a test that does not run says so")]
    fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_path_buf();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { path, _directory: directory });
        }
        eprintln!("skipped: a tmpfs cannot be mounted here (needs root)");
        None
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", options]).arg(&self.path).status().unwrap();
        assert!(done.success());
    }

    /// Leaves about `bytes` of room.
    fn fill_up_to(&self, bytes: u64) {
        let stat = rustix::fs::statvfs(&self.path).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let length = usize::try_from(free.saturating_sub(bytes)).unwrap();
        std::fs::write(self.path.join("ballast"), vec![0; length]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[tokio::test]
async fn a_read_only_disk_is_named() {
    let Some(disk) = Disk::new("8m") else { return };
    close(open(&disk.path).await, &disk.path).await;
    // The last connection may still be on its way out.
    while Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk.path)
        .output()
        .is_ok_and(|o| !o.status.success())
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = refusal(&disk.path).await;
    assert!(matches!(error, DbError::ReadOnly { .. }), "{error:?}");
    disk.remount("remount,rw");
    open(&disk.path).await;
}

/// A text that does not get much smaller.
fn noise(length: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + state.to_le_bytes()[0] % 95)
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest() {
    let Some(disk) = Disk::new("8m") else { return };
    let db = open(&disk.path).await;
    let owner = db.owner_register().await.unwrap();
    disk.fill_up_to(400 << 10);
    let name = |n: usize| Fingerprint::from(format!("f{n}"));
    let small = futures_util::future::join_all((0..8).map(|_| db.run_insert(&owner, new_run("django"))));
    let (big_name, too_big) = (name(0), noise(2 << 20));
    let (big, small) = tokio::join!(db.eval_put(&big_name, 1, &too_big), small);
    let big = big.unwrap_err();
    assert!(matches!(big, DbError::Full { .. }), "{big:?}");
    assert!(big.to_string().contains("no space left for") && big.to_string().contains("croft.db"), "{big}");
    for answer in small {
        answer.unwrap();
    }

    let mut kept = 8;
    let full = loop {
        match db.run_insert(&owner, new_run("django")).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, DbError::Full { .. }), "{full:?}");
    assert_eq!(db.run_list(None, 1_000_000).await.unwrap().len(), kept, "what was confirmed is there");
    std::fs::remove_file(disk.path.join("ballast")).unwrap();
    db.run_insert(&owner, new_run("django")).await.unwrap();
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_state_directory_without_room_is_named() {
    let Some(disk) = Disk::new("1m") else { return };
    disk.fill_up_to(4 << 10);
    let error = refusal(&disk.path).await;
    assert!(matches!(error, DbError::Full { .. }), "{error:?}");
}
