//! What dead owners left: their attempts end as lost, their builds are free again, their runs are over.

use super::{
    Db, DbError, column,
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::OwnerId,
    lifecycle::{AttemptOutcome, InfraCause},
};

/// What a sweep has put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Owners that were dead.
    pub owners: u64,
    /// Attempts that had no end.
    pub attempts: u64,
    /// Builds that were open.
    pub builds: u64,
    /// Runs that were under way.
    pub runs: u64,
}

impl Db {
    /// Takes over what dead owners left: their attempts end as infra, their builds are released, their runs are lost.
    /// May be called at any time, by several processes at once, and again.
    pub async fn recover(&self) -> Result<Recovered, DbError> {
        let dead = self.owner_list_dead().await?;
        let recovered = if dead.is_empty() {
            Recovered::default()
        } else {
            self.write(Sweep { dead, now: self.clock.now() }).await?
        };
        self.owner_remove_files().await?;
        Ok(recovered)
    }
}

struct Sweep {
    dead: Vec<OwnerId>,
    now: Timestamp,
}

impl Write for Sweep {
    type Output = Recovered;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<Recovered, DbError> {
        let mut recovered = Recovered::default();
        for owner in &self.dead {
            recovered.attempts += end_attempts(txn, *owner, self.now).await?;
            recovered.builds += self
                .each(
                    txn,
                    "UPDATE build SET ended = ?, state = 'ended', ending = 'released'
                     WHERE owner = ? AND state <> 'ended'",
                    *owner,
                )
                .await?;
            recovered.runs += self
                .each(
                    txn,
                    "UPDATE run SET ended = ?, state = 'lost', verdict = 'undetermined'
                     WHERE owner = ? AND state = 'running'",
                    *owner,
                )
                .await?;
            recovered.owners +=
                self.each(txn, "UPDATE owner SET ended = ? WHERE id = ? AND ended IS NULL", *owner).await?;
        }
        Ok(recovered)
    }
}

impl Sweep {
    async fn each(&self, txn: &mut Txn<'_>, query: &'static str, owner: OwnerId) -> Result<u64, DbError> {
        let done = sqlx::query(query)
            .bind(column::time(self.now))
            .bind(owner.to_string())
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("taking over from a dead process"))?;
        Ok(done.rows_affected())
    }
}

async fn end_attempts(txn: &mut Txn<'_>, owner: OwnerId, now: Timestamp) -> Result<u64, DbError> {
    let lost = AttemptOutcome::Infra {
        cause: InfraCause::OwnerDied,
        message: "the croft process that ran it died".to_owned(),
    };
    let (word, cause, message) = column::outcome_columns(&lost);
    let done = sqlx::query(
        "UPDATE attempt SET ended = ?, outcome = ?, cause = ?, message = ? WHERE outcome IS NULL AND build IN
            (SELECT id FROM build WHERE owner = ? AND state <> 'ended')",
    )
    .bind(column::time(now))
    .bind(word)
    .bind(cause)
    .bind(message.map(str::to_owned))
    .bind(owner.to_string())
    .execute(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("ending the attempts of a dead process"))?;
    Ok(done.rows_affected())
}
