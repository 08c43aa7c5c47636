//! The writer with requests that fail, panic and wait.

use std::{path::Path, sync::Arc};

use sqlx::ConnectOptions;

use super::*;
use crate::{
    clock::SystemClock,
    db::{Db, DbOptions},
};

/// Adds a row, then does what it is told.
struct Add {
    id: String,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    Succeed,
    Refuse,
    BreakOff,
    Panic,
}

impl Write for Add {
    type Output = String;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<String, DbError> {
        sqlx::query("INSERT INTO owner (id, pid, started) VALUES (?, 1, 1)")
            .bind(self.id.clone())
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("adding"))?;
        match self.then {
            Then::Succeed => Ok(self.id.clone()),
            Then::Refuse => Err(DbError::NotFound { kind: "thing", id: self.id.clone() }),
            Then::BreakOff => {
                // What SQLite does by itself when the disk is full: the whole transaction is gone.
                sqlx::query("ROLLBACK").execute(&mut *txn.conn).await.unwrap();
                Err(DbError::NotFound { kind: "transaction", id: self.id.clone() })
            }
            Then::Panic => panic!("as told"),
        }
    }
}

fn add(n: usize, then: Then) -> Add {
    Add { id: format!("row-{n:03}"), then }
}

async fn open(state: &Path, patience: Duration) -> Db {
    let options = DbOptions { busy_timeout: patience, ..DbOptions::in_state_dir(state) };
    Db::open(options, Arc::new(SystemClock)).await.unwrap()
}

async fn rows(db: &Db) -> Vec<String> {
    sqlx::query_scalar("SELECT id FROM owner ORDER BY id").fetch_all(&db.pool).await.unwrap()
}

/// Another process that holds the write lock, so that requests pile up.
async fn hold(state: &Path) -> SqliteConnection {
    let mut conn = SqliteConnectOptions::new().filename(state.join("croft.db")).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut conn).await.unwrap();
    conn
}

/// Sends requests while the lock is held, frees it, and returns the answers.
async fn together(db: &Db, mut lock: SqliteConnection, requests: Vec<Add>) -> Vec<Result<String, DbError>> {
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let db = db.clone();
            task::spawn("caller", async move { db.write(request).await })
        })
        .collect();
    // Every caller is polled once before this task goes on: all requests are in the queue.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    sqlx::query("COMMIT").execute(&mut lock).await.unwrap();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.join().await.unwrap());
    }
    answers
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn many_who_wait_share_a_commit() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path(), PATIENCE).await;
    let lock = hold(state.path()).await;
    let answers = together(&db, lock, (0..100).map(|n| add(n, Then::Succeed)).collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(rows(&db).await.len(), 100);
    let stats = db.write_stats();
    assert_eq!(stats.changes, 100);
    assert!(stats.commits <= 3, "{stats:?}");
}

#[tokio::test]
async fn a_refused_request_leaves_its_neighbours_alone() {
    for then in [Then::Refuse, Then::BreakOff] {
        let state = tempfile::tempdir().unwrap();
        let db = open(state.path(), PATIENCE).await;
        let lock = hold(state.path()).await;
        let requests = (0..9).map(|n| add(n, if n == 4 { then } else { Then::Succeed })).collect();
        let answers = together(&db, lock, requests).await;
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer.is_ok(), n != 4, "{n}: {answer:?}");
        }
        assert!(matches!(answers[4], Err(DbError::NotFound { .. })), "its own error: {:?}", answers[4]);
        let rows = rows(&db).await;
        assert_eq!(rows.len(), 8, "{rows:?}");
        assert!(!rows.contains(&"row-004".to_owned()));
        assert!(db.write(add(4, Then::Succeed)).await.is_ok(), "the writer lives on");
    }
}

#[tokio::test]
async fn a_dead_writer_is_an_error_and_no_hang() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path(), PATIENCE).await;
    let lock = hold(state.path()).await;
    let requests = (0..5).map(|n| add(n, if n == 2 { Then::Panic } else { Then::Succeed })).collect();
    let answers = tokio::time::timeout(PATIENCE, together(&db, lock, requests)).await.unwrap();
    assert!(answers.iter().any(|answer| matches!(answer, Err(DbError::WriterGone { .. }))), "{answers:?}");
    let later = tokio::time::timeout(PATIENCE, db.write(add(9, Then::Succeed))).await.unwrap();
    assert!(later.unwrap_err().to_string().contains("restart croft"));
    let confirmed: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(rows(&db).await, confirmed, "what was confirmed is there, and nothing else");
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_but_not_for_ever() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path(), Duration::from_millis(150)).await;
    let mut lock = hold(state.path()).await;
    let error = db.write(add(1, Then::Succeed)).await.unwrap_err();
    assert!(matches!(error, DbError::Busy { waited, .. } if waited >= Duration::from_millis(150)), "{error}");
    sqlx::query("COMMIT").execute(&mut lock).await.unwrap();
    db.write(add(1, Then::Succeed)).await.unwrap();
}
