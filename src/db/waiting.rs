//! What each process has waiting, as it last said: a view for people.

use sqlx::FromRow;

use super::{
    Db, DbError, OwnerGuard,
    column::{self, Row},
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{OwnerId, RunId},
    nix::{DrvKey, System},
};

/// A build that runs or waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The run it is for.
    pub run: RunId,
    /// The derivation's name.
    pub name: String,
    /// The derivation's key.
    pub key: DrvKey,
    /// The system it is built on.
    pub system: System,
    /// `running`, `ready` or `waiting`.
    pub state: String,
    /// Where it runs, or why it does not.
    pub reason: String,
    /// When it is expected to be done.
    pub eta: Option<Timestamp>,
}

impl Db {
    /// Replaces what this process has waiting, in the order in which it will be done.
    pub async fn waiting_replace(&self, owner: &OwnerGuard, all: Vec<Waiting>) -> Result<(), DbError> {
        self.write(Replace { owner: owner.id(), all }).await
    }

    /// What all live processes have waiting, in order.
    pub async fn waiting_list(&self) -> Result<Vec<Waiting>, DbError> {
        let rows: Vec<WaitingRow> = sqlx::query_as(
            "SELECT w.* FROM waiting w JOIN owner o ON o.id = w.owner WHERE o.ended IS NULL
             ORDER BY w.owner, w.position",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(self.place.failed("reading the queue"))?;
        rows.into_iter().map(Waiting::try_from).collect()
    }
}

#[derive(FromRow)]
struct WaitingRow {
    run: String,
    name: String,
    key: String,
    system: String,
    state: String,
    reason: String,
    eta: Option<i64>,
}

impl TryFrom<WaitingRow> for Waiting {
    type Error = DbError;

    fn try_from(row: WaitingRow) -> Result<Self, DbError> {
        let at = Row { table: "waiting", id: &row.name };
        Ok(Self {
            run: at.text("run", &row.run)?,
            key: at.text("key", &row.key)?,
            system: at.text("system", &row.system)?,
            eta: row.eta.map(column::untime),
            name: row.name.clone(),
            state: row.state,
            reason: row.reason,
        })
    }
}

struct Replace {
    owner: OwnerId,
    all: Vec<Waiting>,
}

impl Write for Replace {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        sqlx::query("DELETE FROM waiting WHERE owner = ?")
            .bind(self.owner.to_string())
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("clearing the queue"))?;
        for (position, waiting) in self.all.iter().enumerate() {
            sqlx::query(
                "INSERT INTO waiting (owner, position, run, name, key, system, state, reason, eta)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(self.owner.to_string())
            .bind(column::len(position))
            .bind(waiting.run.to_string())
            .bind(waiting.name.clone())
            .bind(waiting.key.to_string())
            .bind(waiting.system.to_string())
            .bind(waiting.state.clone())
            .bind(waiting.reason.clone())
            .bind(waiting.eta.map(column::time))
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("recording the queue"))?;
        }
        Ok(())
    }
}
