//! What is learnt of machines and wanted of them: guarded changes, each of which tells the event log why.

use super::{
    DbError,
    column::{self, Row},
    machine_event::add_event,
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::MachineId,
    lifecycle::{EndReason, Hold, InstanceId, Reach, Seen, Wanted},
};

/// Something that is learnt of a machine or wanted of it.
#[derive(Debug, Clone)]
pub enum MachineChange {
    /// The provider has it.
    Launched {
        /// As this instance.
        instance: InstanceId,
    },
    /// It can be reached.
    Reachable(Reach),
    /// It has joined and runs this Nix.
    Joined {
        /// The version.
        nix: String,
    },
    /// Something else is seen of it.
    Seen(Seen),
    /// It is wanted up again.
    Wake,
    /// It is wanted asleep.
    Sleep,
    /// It is no longer wanted.
    End(EndReason),
    /// Something keeps it from new work, or nothing does.
    Hold(Option<Hold>),
    /// The provider takes it back.
    Interrupted,
    /// Its price turned out to be this.
    Price(u64),
}

pub(super) struct Change {
    pub(super) machine: MachineId,
    pub(super) change: MachineChange,
    pub(super) now: Timestamp,
}

impl Write for Change {
    type Output = bool;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<bool, DbError> {
        let found: Option<(String, String)> = sqlx::query_as("SELECT wanted, seen FROM machine WHERE id = ?")
            .bind(self.machine.to_string())
            .fetch_optional(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("reading a machine"))?;
        let (wanted, seen) =
            found.ok_or_else(|| DbError::NotFound { kind: "machine", id: self.machine.to_string() })?;
        let (wanted, seen): (Wanted, Seen) = {
            let at = Row { table: "machine", id: &self.machine };
            (at.word("wanted", &wanted)?, at.word("seen", &seen)?)
        };
        let changed = match &self.change {
            MachineChange::Launched { instance } => self.launched(txn, instance, seen).await?,
            MachineChange::Reachable(reach) => {
                self.text(txn, "UPDATE machine SET reach = ? WHERE id = ?", column::document(reach)).await?
            }
            MachineChange::Joined { nix } => self.joined(txn, nix, seen).await?,
            MachineChange::Seen(to) => self.seen(txn, seen, *to).await?,
            MachineChange::Wake => self.want(txn, wanted, Wanted::Up, None).await?,
            MachineChange::Sleep => self.want(txn, wanted, Wanted::Dormant, None).await?,
            MachineChange::End(reason) => self.want(txn, wanted, Wanted::Gone, Some(reason)).await?,
            MachineChange::Hold(hold) => self.hold(txn, hold.as_ref()).await?,
            MachineChange::Interrupted => {
                let update = "UPDATE machine SET interrupted = 1 WHERE id = ? AND interrupted = 0";
                self.update(txn, sqlx::query(update)).await?
            }
            MachineChange::Price(price) => {
                let update =
                    sqlx::query("UPDATE machine SET price = ? WHERE id = ?").bind(column::int(*price));
                self.update(txn, update).await?
            }
        };
        if changed && let Some((kind, words)) = self.change.event() {
            add_event(txn, self.machine, kind, &words, self.now).await?;
        }
        Ok(changed)
    }
}

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

impl Change {
    /// Runs an update whose last parameter is the machine.
    async fn update(&self, txn: &mut Txn<'_>, query: Query) -> Result<bool, DbError> {
        let done = query
            .bind(self.machine.to_string())
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("changing a machine"))?;
        Ok(done.rows_affected() > 0)
    }

    async fn text(&self, txn: &mut Txn<'_>, query: &'static str, text: String) -> Result<bool, DbError> {
        self.update(txn, sqlx::query(query).bind(text)).await
    }

    async fn launched(&self, txn: &mut Txn<'_>, instance: &InstanceId, seen: Seen) -> Result<bool, DbError> {
        if seen != Seen::Requested {
            return Ok(false);
        }
        let now = column::time(self.now);
        let update = sqlx::query(
            "UPDATE machine SET instance = ?, launched = ?, seen = 'booting', seen_since = ? WHERE id = ?",
        );
        self.update(txn, update.bind(instance.as_str().to_owned()).bind(now).bind(now)).await
    }

    async fn joined(&self, txn: &mut Txn<'_>, nix: &str, seen: Seen) -> Result<bool, DbError> {
        if seen.move_to(Seen::Ready).is_err() || seen == Seen::Ready {
            return Ok(false);
        }
        let now = column::time(self.now);
        let update = sqlx::query(
            "UPDATE machine SET nix = ?, seen = 'ready', seen_since = ?, joined = COALESCE(joined, ?), idle_since = ?
             WHERE id = ?",
        );
        self.update(txn, update.bind(nix.to_owned()).bind(now).bind(now).bind(now)).await
    }

    async fn seen(&self, txn: &mut Txn<'_>, from: Seen, to: Seen) -> Result<bool, DbError> {
        if from == to || from.move_to(to).is_err() {
            return Ok(false);
        }
        let ended = (to == Seen::Gone).then(|| column::time(self.now));
        // A machine that is seen gone is not wanted any more either, whoever ended it.
        let update = sqlx::query(
            "UPDATE machine SET seen = ?, seen_since = ?, ended = ?,
                 wanted = CASE WHEN ? THEN 'gone' ELSE wanted END,
                 ending = CASE WHEN ? THEN COALESCE(ending, ?) ELSE ending END, running = 0
             WHERE id = ?",
        );
        let unknown = column::document(&EndReason::EndedByProvider("nobody said why".to_owned()));
        let update = update.bind(to.word()).bind(column::time(self.now)).bind(ended);
        self.update(txn, update.bind(to == Seen::Gone).bind(to == Seen::Gone).bind(unknown)).await
    }

    async fn want(
        &self,
        txn: &mut Txn<'_>,
        from: Wanted,
        to: Wanted,
        why: Option<&EndReason>,
    ) -> Result<bool, DbError> {
        if from == to || from.move_to(to).is_err() {
            return Ok(false);
        }
        let update = sqlx::query("UPDATE machine SET wanted = ?, ending = ?, wanted_since = ? WHERE id = ?");
        let update = update.bind(to.word()).bind(why.map(column::document)).bind(column::time(self.now));
        self.update(txn, update).await
    }

    async fn hold(&self, txn: &mut Txn<'_>, hold: Option<&Hold>) -> Result<bool, DbError> {
        let text = hold.map(column::document);
        let update = sqlx::query(
            "UPDATE machine SET hold = ?, infra = CASE WHEN ? IS NULL THEN 0 ELSE infra END WHERE hold IS NOT ? AND id = ?",
        );
        self.update(txn, update.bind(text.clone()).bind(text.clone()).bind(text)).await
    }
}

impl MachineChange {
    /// The change as the event log tells it.
    fn event(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::Launched { instance } => ("launched", format!("the provider has it as {instance}")),
            Self::Reachable(reach) => ("reachable", format!("at {reach}")),
            Self::Joined { nix } => ("joined", format!("Nix {nix}, healthy, its sandbox proved by a build")),
            Self::Seen(Seen::Gone) => ("gone", String::new()),
            Self::Seen(Seen::Unreachable) => ("unreachable", "it does not answer".to_owned()),
            Self::Seen(Seen::Dormant) => ("dormant", "stopped, kept for the next need".to_owned()),
            Self::Seen(Seen::Ready) => ("back", "it answers again".to_owned()),
            Self::Seen(Seen::Booting) => ("starting", String::new()),
            Self::Seen(Seen::Requested) | Self::Price(_) => return None,
            Self::Wake => ("woken", "there is work for it".to_owned()),
            Self::Sleep => ("sleep", "it had nothing to do".to_owned()),
            Self::End(reason) => ("ending", reason.to_string()),
            Self::Hold(Some(hold)) => ("held", hold.to_string()),
            Self::Hold(None) => ("released", String::new()),
            Self::Interrupted => ("interrupted", "the provider takes it back".to_owned()),
        })
    }
}
