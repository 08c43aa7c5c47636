//! Runs: all that one trigger started.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    Db, DbError, OwnerGuard,
    column::{self, Row},
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{OwnerId, RunId},
    lifecycle::{CellState, RunState, RunVerdict},
};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text!(
    /// What runs of the same flake have in common, whatever its revision.
    Project
);
text!(
    /// The locked fingerprint of a flake: the same text, the same cells.
    Fingerprint
);

/// How many cells of a run are in which state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Totals(pub BTreeMap<CellState, u64>);

impl FromIterator<CellState> for Totals {
    fn from_iter<I: IntoIterator<Item = CellState>>(states: I) -> Self {
        let mut totals = BTreeMap::new();
        for state in states {
            *totals.entry(state).or_default() += 1;
        }
        Self(totals)
    }
}

/// A run that begins.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The project it belongs to.
    pub project: Project,
    /// The flake as the user named it.
    pub flake: String,
    /// The flake's fingerprint, if it is known yet.
    pub fingerprint: Option<Fingerprint>,
    /// The source revision, if there is one.
    pub revision: Option<String>,
    /// What asked for it, in words.
    pub trigger: String,
}

/// A run on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The project it belongs to.
    pub project: Project,
    /// The flake as the user named it.
    pub flake: String,
    /// The flake's fingerprint, once known.
    pub fingerprint: Option<Fingerprint>,
    /// The source revision, if there is one.
    pub revision: Option<String>,
    /// What asked for it, in words.
    pub trigger: String,
    /// The process that runs or ran it.
    pub owner: OwnerId,
    /// Where it stands.
    pub state: RunState,
    /// What it says of its flake, once it is over.
    pub verdict: Option<RunVerdict>,
    /// The states of its cells, once it is over.
    pub totals: Totals,
    /// When it began.
    pub started: Timestamp,
    /// When it came to rest.
    pub ended: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct RunRow {
    id: String,
    project: String,
    flake: String,
    fingerprint: Option<String>,
    revision: Option<String>,
    cause: String,
    owner: String,
    state: String,
    verdict: Option<String>,
    totals: String,
    started: i64,
    ended: Option<i64>,
}

impl TryFrom<RunRow> for RunRecord {
    type Error = DbError;

    fn try_from(row: RunRow) -> Result<Self, DbError> {
        let at = Row { table: "run", id: &row.id };
        Ok(Self {
            id: at.text("id", &row.id)?,
            owner: at.text("owner", &row.owner)?,
            state: at.word("state", &row.state)?,
            verdict: row.verdict.as_deref().map(|word| at.word("verdict", word)).transpose()?,
            totals: at.json("totals", &row.totals)?,
            project: row.project.into(),
            flake: row.flake,
            fingerprint: row.fingerprint.map(Into::into),
            revision: row.revision,
            trigger: row.cause,
            started: column::untime(row.started),
            ended: row.ended.map(column::untime),
        })
    }
}

impl Db {
    /// Records a run that begins now.
    pub async fn run_insert(&self, owner: &OwnerGuard, run: NewRun) -> Result<(), DbError> {
        self.write(Insert { run, owner: owner.id(), now: self.clock.now() }).await
    }

    /// Ends a run that is under way; a run ends once.
    pub async fn run_finish(
        &self,
        run: RunId,
        state: RunState,
        verdict: RunVerdict,
        totals: Totals,
    ) -> Result<(), DbError> {
        self.write(Finish { run, state, verdict, totals, now: self.clock.now() }).await
    }

    /// The newest runs, of one project or of all, newest first.
    pub async fn run_list(&self, project: Option<&Project>, limit: u32) -> Result<Vec<RunRecord>, DbError> {
        let rows: Vec<RunRow> = match project {
            Some(project) => {
                sqlx::query_as("SELECT * FROM run WHERE project = ? ORDER BY seq DESC LIMIT ?")
                    .bind(project.as_str().to_owned())
                    .bind(limit)
                    .fetch_all(&self.pool)
                    .await
            }
            None => {
                sqlx::query_as("SELECT * FROM run ORDER BY seq DESC LIMIT ?")
                    .bind(limit)
                    .fetch_all(&self.pool)
                    .await
            }
        }
        .map_err(self.place.failed("listing the runs"))?;
        rows.into_iter().map(RunRecord::try_from).collect()
    }

    /// The newest run of a project, or of all.
    pub async fn run_latest(&self, project: Option<&Project>) -> Result<Option<RunRecord>, DbError> {
        Ok(self.run_list(project, 1).await?.pop())
    }

    /// The one run whose id starts with `prefix`.
    pub async fn run_get(&self, prefix: &str) -> Result<RunRecord, DbError> {
        let prefix = prefix.to_ascii_lowercase();
        let mut rows: Vec<RunRow> =
            sqlx::query_as("SELECT * FROM run WHERE id >= ? AND id < ? || '~' ORDER BY id LIMIT 2")
                .bind(prefix.clone())
                .bind(prefix.clone())
                .fetch_all(&self.pool)
                .await
                .map_err(self.place.failed("reading a run"))?;
        match (rows.pop(), rows.pop()) {
            (Some(second), Some(first)) => {
                Err(DbError::Ambiguous { kind: "run", prefix, first: first.id, second: second.id })
            }
            (Some(only), None) => only.try_into(),
            (None, _) => Err(DbError::NotFound { kind: "run", id: prefix }),
        }
    }
}

/// The row number of a run.
pub(super) async fn seq_in_txn(txn: &mut Txn<'_>, run: RunId) -> Result<i64, DbError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT seq FROM run WHERE id = ?")
        .bind(run.to_string())
        .fetch_optional(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("finding a run"))?;
    found.ok_or_else(|| DbError::NotFound { kind: "run", id: run.to_string() })
}

struct Insert {
    run: NewRun,
    owner: OwnerId,
    now: Timestamp,
}

impl Write for Insert {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let run = &self.run;
        sqlx::query(
            "INSERT INTO run (id, project, flake, fingerprint, revision, cause, owner, state, started)
             VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?)",
        )
        .bind(run.id.to_string())
        .bind(run.project.0.clone())
        .bind(run.flake.clone())
        .bind(run.fingerprint.as_ref().map(|text| text.0.clone()))
        .bind(run.revision.clone())
        .bind(run.trigger.clone())
        .bind(self.owner.to_string())
        .bind(column::time(self.now))
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("recording a run"))?;
        Ok(())
    }
}

struct Finish {
    run: RunId,
    state: RunState,
    verdict: RunVerdict,
    totals: Totals,
    now: Timestamp,
}

impl Write for Finish {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let done = sqlx::query(
            "UPDATE run SET state = ?, verdict = ?, totals = ?, ended = ? WHERE id = ? AND state = 'running'",
        )
        .bind(self.state.word())
        .bind(column::verdict_word(self.verdict))
        .bind(serde_json::to_string(&self.totals).unwrap_or_else(|_| "{}".to_owned()))
        .bind(column::time(self.now))
        .bind(self.run.to_string())
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("ending a run"))?;
        must_be_running(txn, self.run, done.rows_affected()).await
    }
}

/// Says why an update guarded by `state = 'running'` met no row.
async fn must_be_running(txn: &mut Txn<'_>, run: RunId, changed: u64) -> Result<(), DbError> {
    if changed == 1 {
        return Ok(());
    }
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM run WHERE id = ?")
        .bind(run.to_string())
        .fetch_optional(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("reading the state of a run"))?;
    let run = run.to_string();
    Err(match state {
        Some(state) => DbError::RunEnded { run, state },
        None => DbError::NotFound { kind: "run", id: run },
    })
}
