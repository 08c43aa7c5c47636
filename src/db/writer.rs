//! The one task of a process that writes: it takes what waits, commits it as one transaction, and answers.
//!
//! A durable commit costs milliseconds, a statement microseconds, so what arrives during a commit shares the next
//! one. Each request has a savepoint of its own: one that fails leaves the others as they are. Nobody is answered
//! before the commit that holds the request is on the disk.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};

use super::{DbError, error::Place};
use crate::task;

/// The most requests of one commit.
const GROUP: usize = 256;
/// How many requests may wait before callers wait to hand theirs over.
const QUEUE: usize = 1024;
/// How long to wait before asking again for a lock that another process holds.
const PAUSE: Duration = Duration::from_millis(2);

/// A change of the database. It may be applied again when the first transaction it was part of was lost.
pub(super) trait Write: Send + Sync + 'static {
    /// What the caller gets after the commit.
    type Output: Send + 'static;

    /// Makes the change within a transaction.
    fn apply(&self, txn: &mut Txn<'_>) -> impl Future<Output = Result<Self::Output, DbError>> + Send;
}

/// A transaction under way.
pub(super) struct Txn<'a> {
    pub(super) conn: &'a mut SqliteConnection,
    pub(super) place: &'a Place,
}

/// How much the writer of this process has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteStats {
    /// Durable commits.
    pub commits: u64,
    /// Changes they held.
    pub changes: u64,
}

/// Where changes are handed to the writer.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    place: Place,
    done: Arc<Done>,
}

#[derive(Debug, Default)]
struct Done {
    commits: AtomicU64,
    changes: AtomicU64,
}

impl Writer {
    /// Starts the task. It ends when the last handle is gone and all it was given is done.
    pub(super) fn start(
        conn: SqliteConnection,
        options: SqliteConnectOptions,
        place: Place,
        patience: Duration,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let done = Arc::new(Done::default());
        let actor =
            Actor { conn: Some(conn), options, place: place.clone(), patience, done: Arc::clone(&done) };
        // Nobody joins it: callers learn of its end from the channel.
        let _task = task::spawn("db-writer", actor.run(waiting));
        Self { queue, place, done }
    }

    /// Makes a change and waits until it is on the disk. When the caller goes away the change is still made.
    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Output, DbError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Request { write, reply, result: None });
        self.queue.send(job).await.map_err(|_| self.place.gone())?;
        answer.await.map_err(|_| self.place.gone())?
    }

    pub(super) fn stats(&self) -> WriteStats {
        WriteStats {
            commits: self.done.commits.load(Ordering::Relaxed),
            changes: self.done.changes.load(Ordering::Relaxed),
        }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// A request whose type is forgotten.
trait Job: Send {
    /// Applies the change and keeps its result; says whether it succeeded.
    fn apply<'a>(&'a mut self, txn: &'a mut Txn<'_>) -> Answer<'a>;
    /// Answers the caller, now that the fate of the transaction is known.
    fn answer(self: Box<Self>, committed: Result<(), DbError>);
}

struct Request<W: Write> {
    write: W,
    reply: oneshot::Sender<Result<W::Output, DbError>>,
    result: Option<Result<W::Output, DbError>>,
}

impl<W: Write> Job for Request<W> {
    fn apply<'a>(&'a mut self, txn: &'a mut Txn<'_>) -> Answer<'a> {
        Box::pin(async move {
            let result = self.write.apply(txn).await;
            let succeeded = result.is_ok();
            self.result = Some(result);
            succeeded
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), DbError>) {
        let answer = match (self.result, committed) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(output)), Ok(())) => Ok(output),
            (Some(Ok(_)) | None, Err(lost)) => Err(lost),
            (None, Ok(())) => return,
        };
        // A caller that went away does not want the answer.
        let _ = self.reply.send(answer);
    }
}

struct Actor {
    conn: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    place: Place,
    patience: Duration,
    done: Arc<Done>,
}

impl Actor {
    async fn run(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(GROUP);
        while waiting.recv_many(&mut jobs, GROUP).await > 0 {
            // Those who were answered a moment ago may be about to send: let them join this commit.
            tokio::task::yield_now().await;
            while jobs.len() < GROUP
                && let Ok(job) = waiting.try_recv()
            {
                jobs.push(job);
            }
            self.serve(std::mem::take(&mut jobs)).await;
        }
        if let Some(conn) = self.conn.take() {
            // The last commit is on the disk already; closing only tidies the WAL away.
            let _ = conn.close().await;
        }
    }

    async fn serve(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let group = self.commit(&mut jobs).await;
        if jobs.len() > 1 && group.as_ref().is_err_and(may_succeed_alone) {
            for mut job in jobs {
                let alone = self.commit(std::slice::from_mut(&mut job)).await;
                job.answer(alone);
            }
            return;
        }
        for job in jobs {
            job.answer(group.clone());
        }
    }

    async fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), DbError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.reconnect().await?,
        };
        let result = self.transact(&mut conn, jobs).await;
        match &result {
            Ok(()) => {
                self.done.commits.fetch_add(1, Ordering::Relaxed);
                self.done.changes.fetch_add(u64::try_from(jobs.len()).unwrap_or(0), Ordering::Relaxed);
                self.conn = Some(conn);
            }
            // After a failed fsync nobody knows what the disk holds: begin again from what it says.
            Err(DbError::Io { .. } | DbError::Corrupt { .. }) => drop(conn.close_hard().await),
            Err(_) => {
                // The transaction may be gone already; a ROLLBACK without one is harmless.
                let _ = sqlx::query("ROLLBACK").execute(&mut conn).await;
                self.conn = Some(conn);
            }
        }
        result
    }

    async fn reconnect(&self) -> Result<SqliteConnection, DbError> {
        SqliteConnection::connect_with(&self.options)
            .await
            .map_err(self.place.failed("reopening the database"))
    }

    async fn transact(&self, conn: &mut SqliteConnection, jobs: &mut [Box<dyn Job>]) -> Result<(), DbError> {
        self.begin(conn).await?;
        for job in jobs {
            let failed = self.place.failed("grouping changes");
            sqlx::query("SAVEPOINT change").execute(&mut *conn).await.map_err(failed)?;
            let succeeded = job.apply(&mut Txn { conn: &mut *conn, place: &self.place }).await;
            if !succeeded {
                // Fails when SQLite has undone the whole transaction, as it does on a full disk.
                let failed = self.place.failed("undoing a change");
                sqlx::query("ROLLBACK TO change").execute(&mut *conn).await.map_err(failed)?;
            }
            let failed = self.place.failed("grouping changes");
            sqlx::query("RELEASE change").execute(&mut *conn).await.map_err(failed)?;
        }
        sqlx::query("COMMIT").execute(&mut *conn).await.map_err(self.place.failed("committing"))?;
        Ok(())
    }

    /// Takes the write lock, for as long as patience lasts.
    async fn begin(&self, conn: &mut SqliteConnection) -> Result<(), DbError> {
        let start = Instant::now();
        loop {
            let begun = sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await;
            match begun.map_err(self.place.failed("beginning a transaction")) {
                Ok(_) => return Ok(()),
                Err(DbError::Busy { path, .. }) if start.elapsed() >= self.patience => {
                    return Err(DbError::Busy { path, waited: start.elapsed() });
                }
                Err(DbError::Busy { .. }) => tokio::time::sleep(PAUSE).await,
                Err(other) => return Err(other),
            }
        }
    }
}

/// Whether a change that was lost with its group is worth a transaction of its own.
fn may_succeed_alone(group: &DbError) -> bool {
    matches!(group, DbError::Full { .. } | DbError::Query { .. })
}

#[cfg(test)]
mod tests;
