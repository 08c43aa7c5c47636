//! What happened to machines, in the order in which it did.

use sqlx::FromRow;

use super::{
    Db, DbError,
    column::{self, Row},
    writer::{Txn, Write},
};
use crate::{clock::Timestamp, ids::MachineId};

/// Something that happened to a machine.
#[derive(Debug, Clone)]
pub struct MachineEvent {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// What, in a word.
    pub kind: String,
    /// The details; may be empty.
    pub words: String,
}

/// The longest text of an event that is kept, in characters.
const MAX_WORDS: usize = 2_000;

impl Db {
    /// Records something that happened to a machine beside its changes of state.
    pub async fn machine_event_add(
        &self,
        machine: MachineId,
        kind: &'static str,
        words: String,
    ) -> Result<(), DbError> {
        self.write(Add { machine, kind, words, now: self.clock.now() }).await
    }

    /// The number of the newest event.
    pub async fn machine_event_newest(&self) -> Result<i64, DbError> {
        sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM machine_event")
            .fetch_one(&self.pool)
            .await
            .map_err(self.place.failed("looking for news of machines"))
    }

    /// The events after number `seq`, oldest first, and the number of the last.
    pub async fn machine_event_after(&self, seq: i64) -> Result<(Vec<MachineEvent>, i64), DbError> {
        let rows: Vec<(i64, String, String, i64, String, String)> = sqlx::query_as(
            "SELECT e.seq, e.machine, m.name, e.at, e.kind, e.words
             FROM machine_event e JOIN machine m ON m.id = e.machine WHERE e.seq > ? ORDER BY e.seq LIMIT 200",
        )
        .bind(seq)
        .fetch_all(&self.pool)
        .await
        .map_err(self.place.failed("reading news of machines"))?;
        let last = rows.last().map_or(seq, |row| row.0);
        let event = |(_, machine, name, at, kind, words)| EventRow { machine, name, at, kind, words };
        let events =
            rows.into_iter().map(|row| MachineEvent::try_from(event(row))).collect::<Result<_, _>>()?;
        Ok((events, last))
    }

    /// The newest events, of one machine or of all, oldest first.
    pub async fn machine_event_list(
        &self,
        machine: Option<MachineId>,
        limit: u32,
    ) -> Result<Vec<MachineEvent>, DbError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT * FROM (SELECT e.seq, e.machine, m.name, e.at, e.kind, e.words
             FROM machine_event e JOIN machine m ON m.id = e.machine
             WHERE ? IS NULL OR e.machine = ? ORDER BY e.seq DESC LIMIT ?) ORDER BY seq",
        )
        .bind(machine.map(|id| id.to_string()))
        .bind(machine.map(|id| id.to_string()))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(self.place.failed("reading what happened to machines"))?;
        rows.into_iter().map(MachineEvent::try_from).collect()
    }
}

#[derive(FromRow)]
struct EventRow {
    machine: String,
    name: String,
    at: i64,
    kind: String,
    words: String,
}

impl TryFrom<EventRow> for MachineEvent {
    type Error = DbError;

    fn try_from(row: EventRow) -> Result<Self, DbError> {
        let machine = Row { table: "machine_event", id: &row.machine }.text("machine", &row.machine)?;
        Ok(Self { machine, name: row.name, at: column::untime(row.at), kind: row.kind, words: row.words })
    }
}

struct Add {
    machine: MachineId,
    kind: &'static str,
    words: String,
    now: Timestamp,
}

impl Write for Add {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        add_event(txn, self.machine, self.kind, &self.words, self.now).await
    }
}

/// Adds an event within a transaction.
pub(super) async fn add_event(
    txn: &mut Txn<'_>,
    machine: MachineId,
    kind: &'static str,
    words: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query("INSERT INTO machine_event (machine, at, kind, words) VALUES (?, ?, ?, ?)")
        .bind(machine.to_string())
        .bind(column::time(now))
        .bind(kind)
        .bind(words.chars().take(MAX_WORDS).collect::<String>())
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("recording what happened to a machine"))?;
    Ok(())
}
