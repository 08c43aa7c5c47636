//! Attempts: each begins once and ends once, and its end brings its tests and moves its build in one transaction.

use super::{
    Db, DbError, OwnerGuard,
    column::{self, Row},
    test::insert_cases,
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{AttemptId, BuildId, OwnerId},
    lifecycle::{AttemptOutcome, BuildState},
    report::{TestCounts, TestReport},
};

/// An attempt that begins.
#[derive(Debug, Clone)]
pub struct AttemptStart {
    /// The build it tries.
    pub build: BuildId,
    /// Its id.
    pub attempt: AttemptId,
    /// Which try of the build it is, from 1.
    pub number: u32,
    /// Where it runs.
    pub machine: String,
}

/// What was kept of an attempt's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogEnd {
    /// Bytes.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Whether its middle is missing.
    pub truncated: bool,
}

/// What becomes of the build when an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildNext {
    /// Another attempt follows.
    Retry,
    /// This was the last one.
    End,
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// Which one.
    pub attempt: AttemptId,
    /// How.
    pub outcome: AttemptOutcome,
    /// When its builder began.
    pub started: Timestamp,
    /// When its builder ended.
    pub ended: Timestamp,
    /// Its log.
    pub log: LogEnd,
    /// Its tests.
    pub report: TestReport,
    /// What becomes of its build.
    pub next: BuildNext,
}

impl Db {
    /// Records that an attempt begins.
    pub async fn attempt_start(&self, owner: &OwnerGuard, start: AttemptStart) -> Result<(), DbError> {
        self.write(Start { start, owner: owner.id(), now: self.clock.now() }).await
    }

    /// Records how an attempt ended, with its tests. A second end of the same attempt is refused.
    pub async fn attempt_end(&self, end: AttemptEnd) -> Result<(), DbError> {
        self.write(End(end)).await
    }
}

/// Moves a build on, if the move is legal and the build is the owner's (where one is given).
async fn move_build(
    txn: &mut Txn<'_>,
    build: BuildId,
    owner: Option<OwnerId>,
    to: BuildState,
) -> Result<(), DbError> {
    let found: Option<(String, String)> = sqlx::query_as("SELECT state, owner FROM build WHERE id = ?")
        .bind(build.to_string())
        .fetch_optional(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("reading a build"))?;
    let (state, holder) = found.ok_or(DbError::NotHeld { build })?;
    if owner.is_some_and(|owner| owner.to_string() != holder) {
        return Err(DbError::NotHeld { build });
    }
    let state: BuildState = Row { table: "build", id: &build }.word("state", &state)?;
    state.move_to(to).map_err(|source| DbError::Transition { build, source })?;
    sqlx::query("UPDATE build SET state = ? WHERE id = ? AND state = ?")
        .bind(to.word())
        .bind(build.to_string())
        .bind(state.word())
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("moving a build"))?;
    Ok(())
}

struct Start {
    start: AttemptStart,
    owner: OwnerId,
    now: Timestamp,
}

impl Write for Start {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        start_attempt(txn, &self.start, self.owner, self.now).await
    }
}

/// Moves a claimed build of `owner` on to running, with an attempt.
pub(super) async fn start_attempt(
    txn: &mut Txn<'_>,
    start: &AttemptStart,
    owner: OwnerId,
    now: Timestamp,
) -> Result<(), DbError> {
    move_build(txn, start.build, Some(owner), BuildState::Running).await?;
    sqlx::query(
        "INSERT INTO attempt (id, build, key, name, system, origin, number, machine, started)
         SELECT ?, id, key, name, system, 'built', ?, ?, ? FROM build WHERE id = ?",
    )
    .bind(start.attempt.to_string())
    .bind(start.number)
    .bind(start.machine.clone())
    .bind(column::time(now))
    .bind(start.build.to_string())
    .execute(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("beginning an attempt"))?;
    Ok(())
}

struct End(AttemptEnd);

impl Write for End {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let end = &self.0;
        let (seq, build) = end_attempt(txn, end).await?;
        insert_cases(txn, seq, &end.report.cases).await?;
        match end.next {
            BuildNext::Retry => move_build(txn, build, None, BuildState::Claimed).await,
            BuildNext::End => end_build(txn, build, end.attempt, end.ended).await,
        }
    }
}

async fn end_attempt(txn: &mut Txn<'_>, end: &AttemptEnd) -> Result<(i64, BuildId), DbError> {
    let (word, cause, message) = column::outcome_columns(&end.outcome);
    let counts = column::CountColumns::of(Some(TestCounts::of(&end.report.cases)));
    let [passed, failed, errors, skipped] = counts.columns();
    let ended: Option<(i64, String)> = sqlx::query_as(
        "UPDATE attempt SET outcome = ?, cause = ?, message = ?, started = ?, ended = ?, log_bytes = ?, log_lines = ?,
                log_truncated = ?, passed = ?, failed = ?, errors = ?, skipped = ?, refused = ?, problems = ?
         WHERE id = ? AND outcome IS NULL RETURNING seq, build",
    )
    .bind(word)
    .bind(cause)
    .bind(message.map(str::to_owned))
    .bind(column::time(end.started))
    .bind(column::time(end.ended))
    .bind(column::int(end.log.bytes))
    .bind(column::int(end.log.lines))
    .bind(end.log.truncated)
    .bind(passed)
    .bind(failed)
    .bind(errors)
    .bind(skipped)
    .bind(end.report.refused.clone())
    .bind(serde_json::to_string(&end.report.problems).unwrap_or_default())
    .bind(end.attempt.to_string())
    .fetch_optional(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("ending an attempt"))?;
    match ended {
        Some((seq, build)) => Ok((seq, Row { table: "attempt", id: &end.attempt }.text("build", &build)?)),
        None => Err(why_not_ended(txn, end.attempt).await?),
    }
}

async fn why_not_ended(txn: &mut Txn<'_>, attempt: AttemptId) -> Result<DbError, DbError> {
    let outcome: Option<Option<String>> = sqlx::query_scalar("SELECT outcome FROM attempt WHERE id = ?")
        .bind(attempt.to_string())
        .fetch_optional(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("reading an attempt"))?;
    Ok(match outcome {
        Some(outcome) => DbError::AttemptEnded { attempt, outcome: outcome.unwrap_or_default() },
        None => DbError::NotFound { kind: "attempt", id: attempt.to_string() },
    })
}

async fn end_build(
    txn: &mut Txn<'_>,
    build: BuildId,
    attempt: AttemptId,
    ended: Timestamp,
) -> Result<(), DbError> {
    let done = sqlx::query(
        "UPDATE build SET state = 'ended', ending = 'decided', last_attempt = ?, ended = ?
         WHERE id = ? AND state = 'running'",
    )
    .bind(attempt.to_string())
    .bind(column::time(ended))
    .bind(build.to_string())
    .execute(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("ending a build"))?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::NotHeld { build }) }
}
