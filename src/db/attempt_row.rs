//! Attempts as they are read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Db, DbError,
    column::{self, CountColumns, Row},
};
use crate::{
    clock::Timestamp,
    ids::{AttemptId, BuildId},
    lifecycle::AttemptOutcome,
    nix::{DrvKey, System},
    report::TestCounts,
};

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// croft built it.
    Built,
    /// It was found valid in the store, or fetched.
    Store,
}

/// An attempt on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The build it tried.
    pub build: BuildId,
    /// The key of the derivation.
    pub key: DrvKey,
    /// The name of the derivation.
    pub name: String,
    /// The system of the derivation.
    pub system: System,
    /// Where its result comes from.
    pub origin: Origin,
    /// Which try of the build it was.
    pub number: u32,
    /// Where it ran.
    pub machine: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it runs.
    pub ended: Option<Timestamp>,
    /// How it ended; none while it runs.
    pub outcome: Option<AttemptOutcome>,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Its tests.
    pub counts: TestCounts,
    /// The project's words, if it refused.
    pub refused: Option<String>,
    /// What could not be read of its report.
    pub problems: Vec<String>,
}

impl Attempt {
    /// How long it took.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.since(self.started))
    }
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    id: String,
    build: String,
    key: String,
    name: String,
    system: String,
    origin: String,
    number: u32,
    machine: String,
    started: i64,
    ended: Option<i64>,
    outcome: Option<String>,
    cause: Option<String>,
    message: Option<String>,
    log_bytes: Option<i64>,
    #[sqlx(flatten)]
    counts: CountColumns,
    refused: Option<String>,
    problems: String,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = DbError;

    fn try_from(row: AttemptRow) -> Result<Self, DbError> {
        let at = Row { table: "attempt", id: &row.id };
        let outcome = |word: &String| at.outcome(word, row.cause.as_ref(), row.message.as_ref());
        Ok(Self {
            id: at.text("id", &row.id)?,
            build: at.text("build", &row.build)?,
            key: at.text("key", &row.key)?,
            system: at.text("system", &row.system)?,
            origin: at.word("origin", &row.origin)?,
            outcome: row.outcome.as_ref().map(outcome).transpose()?,
            problems: at.json("problems", &row.problems)?,
            name: row.name,
            number: row.number,
            machine: row.machine,
            started: column::untime(row.started),
            ended: row.ended.map(column::untime),
            log_bytes: row.log_bytes.map(column::uint).unwrap_or_default(),
            counts: row.counts.counts().unwrap_or_default(),
            refused: row.refused,
        })
    }
}

impl Db {
    /// One attempt.
    pub async fn attempt_get(&self, attempt: AttemptId) -> Result<Attempt, DbError> {
        let row: Option<AttemptRow> = sqlx::query_as("SELECT * FROM attempt WHERE id = ?")
            .bind(attempt.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.place.failed("reading an attempt"))?;
        row.ok_or_else(|| DbError::NotFound { kind: "attempt", id: attempt.to_string() })?.try_into()
    }

    /// The attempts on a key, newest first.
    pub async fn attempt_list(&self, key: DrvKey, limit: u32) -> Result<Vec<Attempt>, DbError> {
        let rows: Vec<AttemptRow> =
            sqlx::query_as("SELECT * FROM attempt WHERE key = ? ORDER BY seq DESC LIMIT ?")
                .bind(key.to_string())
                .bind(limit)
                .fetch_all(&self.pool)
                .await
                .map_err(self.place.failed("listing attempts"))?;
        rows.into_iter().map(Attempt::try_from).collect()
    }
}
