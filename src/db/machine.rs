//! Machines: recorded before they are launched, listed, and taken over from processes that died.

use super::{
    Db, DbError, OwnerGuard,
    column::{self, Row},
    machine_change::{Change, MachineChange},
    machine_event::add_event,
    machine_row::{MachineRecord, MachineRow},
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{FarmId, MachineId, OwnerId},
    lifecycle::{Seen, Shape},
};

/// A machine that is to be launched, or that is always there.
#[derive(Debug, Clone)]
pub struct NewMachine {
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// Its pool; none for a builder that is always there.
    pub pool: Option<String>,
    /// Who provides it: `local`, `ssh`, or the provider of the pool.
    pub provider: String,
    /// How it is to be had; none for a builder that is always there.
    pub shape: Option<Shape>,
    /// Why it exists, in words.
    pub why: String,
    /// The machine that it replaces.
    pub replaces: Option<MachineId>,
    /// Its public host key.
    pub host_key: Option<String>,
    /// How many builds it runs at once.
    pub slots: u32,
    /// Price for an hour, in millionths.
    pub price: u64,
}

impl NewMachine {
    /// A builder that is always there and costs nothing.
    pub fn standing(id: MachineId, name: &str, provider: &str, why: &str, slots: u32) -> Self {
        Self {
            id,
            name: name.to_owned(),
            pool: None,
            provider: provider.to_owned(),
            shape: None,
            why: why.to_owned(),
            replaces: None,
            host_key: None,
            slots,
            price: 0,
        }
    }
}

/// How a machine is doing; overwritten as often as it is asked, and no event.
#[derive(Debug, Clone, Default)]
pub struct MachinePulse {
    /// Builds that run on it.
    pub running: u32,
    /// Builds it has made.
    pub builds: u64,
    /// Infrastructure failures in a row.
    pub infra: u32,
    /// Since when it has nothing to do.
    pub idle_since: Option<Timestamp>,
    /// How it is, as a JSON document; none if it was not asked.
    pub health: Option<String>,
}

/// A time in which a machine cost something.
#[derive(Debug, Clone)]
pub struct MachineLife {
    /// Its pool.
    pub pool: String,
    /// Its price for an hour, in millionths.
    pub price: u64,
    /// Since when.
    pub from: Timestamp,
    /// Until when; none while it goes on.
    pub to: Option<Timestamp>,
}

/// Whether a machine was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It was.
    Yes,
    /// Its pool has as many machines as it may have.
    PoolFull,
}

impl Db {
    /// Who this database is to a provider: made at the first question, and the same ever after.
    pub async fn farm_id(&self) -> Result<FarmId, DbError> {
        let now = self.clock.now();
        self.write(Farm { id: FarmId::new(now), now }).await
    }

    /// Records the intent to launch a machine, unless its pool has `max` machines that are not gone.
    pub async fn machine_insert(
        &self,
        owner: &OwnerGuard,
        machine: NewMachine,
        max: u32,
    ) -> Result<Recorded, DbError> {
        self.write(Insert { machine, owner: owner.id(), max, now: self.clock.now() }).await
    }

    /// The record of a builder that is always there, made when it is new.
    pub async fn machine_ensure(&self, machine: NewMachine) -> Result<MachineId, DbError> {
        self.write(Ensure { machine, now: self.clock.now() }).await
    }

    /// All machines that are not gone, by name.
    pub async fn machine_list(&self) -> Result<Vec<MachineRecord>, DbError> {
        let rows = sqlx::query_as("SELECT * FROM machine WHERE seen <> 'gone' ORDER BY name");
        let rows: Vec<MachineRow> =
            rows.fetch_all(&self.pool).await.map_err(self.place.failed("listing the machines"))?;
        rows.into_iter().map(MachineRecord::try_from).collect()
    }

    /// Machines that have been gone since no longer than `since`, newest first, at most `limit`.
    pub async fn machine_list_gone(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<MachineRecord>, DbError> {
        let rows =
            sqlx::query_as("SELECT * FROM machine WHERE ended >= ? ORDER BY ended DESC, id DESC LIMIT ?");
        let rows: Vec<MachineRow> = rows
            .bind(column::time(since))
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(self.place.failed("listing the machines that are gone"))?;
        rows.into_iter().map(MachineRecord::try_from).collect()
    }

    /// The machine with this name that is not gone, or else the last one that had it.
    pub async fn machine_by_name(&self, name: &str) -> Result<MachineRecord, DbError> {
        let row: Option<MachineRow> = sqlx::query_as(
            "SELECT * FROM machine WHERE name = ? ORDER BY seen = 'gone', requested DESC LIMIT 1",
        )
        .bind(name.to_owned())
        .fetch_optional(&self.pool)
        .await
        .map_err(self.place.failed("reading a machine"))?;
        let not_found = || DbError::NotFound { kind: "machine", id: name.chars().take(80).collect() };
        row.ok_or_else(not_found)?.try_into()
    }

    /// Makes a change, if the machine's state allows it. Says whether anything changed; what is so already, or can
    /// no longer be, changes nothing.
    pub async fn machine_change(&self, machine: MachineId, change: MachineChange) -> Result<bool, DbError> {
        self.write(Change { machine, change, now: self.clock.now() }).await
    }

    /// Keeps how machines are doing.
    pub async fn machine_pulse_many(&self, pulses: Vec<(MachineId, MachinePulse)>) -> Result<(), DbError> {
        self.write(Pulses { pulses, now: self.clock.now() }).await
    }

    /// What the machines of pools have cost since `since`, by pool: the price of each for an hour in millionths, and
    /// the time in which it was up; no end while it is.
    pub async fn machine_lives(&self, since: Timestamp) -> Result<Vec<MachineLife>, DbError> {
        let rows: Vec<(String, i64, i64, Option<i64>)> = sqlx::query_as(
            "SELECT pool, price, launched, ended FROM machine
             WHERE pool IS NOT NULL AND price > 0 AND launched IS NOT NULL AND (ended IS NULL OR ended >= ?)",
        )
        .bind(column::time(since))
        .fetch_all(&self.pool)
        .await
        .map_err(self.place.failed("adding up what machines have cost"))?;
        let life = |(pool, price, from, to): (String, i64, i64, Option<i64>)| MachineLife {
            pool,
            price: column::uint(price),
            from: column::untime(from),
            to: to.map(column::untime),
        };
        Ok(rows.into_iter().map(life).collect())
    }

    /// Makes `owner` the keeper of the launched machines of dead processes. Returns how many there were.
    pub async fn machine_take_over(&self, owner: &OwnerGuard) -> Result<u64, DbError> {
        self.write(TakeOver { owner: owner.id(), now: self.clock.now() }).await
    }
}

struct Farm {
    id: FarmId,
    now: Timestamp,
}

impl Write for Farm {
    type Output = FarmId;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<FarmId, DbError> {
        let failed = txn.place.failed("naming the farm");
        sqlx::query("INSERT INTO farm (id, made) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM farm)")
            .bind(self.id.to_string())
            .bind(column::time(self.now))
            .execute(&mut *txn.conn)
            .await
            .map_err(failed)?;
        let failed = txn.place.failed("reading the farm's name");
        let id: String =
            sqlx::query_scalar("SELECT id FROM farm").fetch_one(&mut *txn.conn).await.map_err(failed)?;
        Row { table: "farm", id: &id }.text("id", &id)
    }
}

struct Insert {
    machine: NewMachine,
    owner: OwnerId,
    max: u32,
    now: Timestamp,
}

impl Write for Insert {
    type Output = Recorded;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<Recorded, DbError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM machine WHERE pool = ? AND seen <> 'gone'")
            .bind(self.machine.pool.clone())
            .fetch_one(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("counting the machines of a pool"))?;
        if count >= i64::from(self.max) {
            return Ok(Recorded::PoolFull);
        }
        insert(txn, &self.machine, Some(self.owner), Seen::Requested, self.now).await?;
        Ok(Recorded::Yes)
    }
}

struct Ensure {
    machine: NewMachine,
    now: Timestamp,
}

impl Write for Ensure {
    type Output = MachineId;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<MachineId, DbError> {
        let machine = &self.machine;
        let found: Option<String> = sqlx::query_scalar(
            "UPDATE machine SET provider = ?, slots = ?, host_key = ? WHERE name = ? AND pool IS NULL
             AND seen <> 'gone' RETURNING id",
        )
        .bind(machine.provider.clone())
        .bind(machine.slots)
        .bind(machine.host_key.clone())
        .bind(machine.name.clone())
        .fetch_optional(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("finding a builder"))?;
        if let Some(id) = found {
            return Row { table: "machine", id: &id }.text("id", &id);
        }
        insert(txn, machine, None, Seen::Booting, self.now).await?;
        Ok(machine.id)
    }
}

async fn insert(
    txn: &mut Txn<'_>,
    machine: &NewMachine,
    owner: Option<OwnerId>,
    seen: Seen,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO machine (id, name, pool, provider, shape, why, replaces, owner, wanted, seen, wanted_since,
                              seen_since, host_key, slots, price, requested)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'up', ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(machine.id.to_string())
    .bind(machine.name.clone())
    .bind(machine.pool.clone())
    .bind(machine.provider.clone())
    .bind(machine.shape.as_ref().map(column::document))
    .bind(machine.why.clone())
    .bind(machine.replaces.map(|id| id.to_string()))
    .bind(owner.map(|owner| owner.to_string()))
    .bind(seen.word())
    .bind(column::time(now))
    .bind(column::time(now))
    .bind(machine.host_key.clone())
    .bind(machine.slots)
    .bind(column::int(machine.price))
    .bind(column::time(now))
    .execute(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("recording a machine"))?;
    add_event(txn, machine.id, "requested", &machine.why, now).await
}

struct Pulses {
    pulses: Vec<(MachineId, MachinePulse)>,
    now: Timestamp,
}

impl Write for Pulses {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        for (machine, pulse) in &self.pulses {
            sqlx::query(
                "UPDATE machine SET running = ?, builds = ?, infra = ?, idle_since = ?,
                     health = COALESCE(?, health), health_at = CASE WHEN ? THEN ? ELSE health_at END
                 WHERE id = ? AND seen <> 'gone'",
            )
            .bind(pulse.running)
            .bind(column::int(pulse.builds))
            .bind(pulse.infra)
            .bind(pulse.idle_since.map(column::time))
            .bind(pulse.health.clone())
            .bind(pulse.health.is_some())
            .bind(column::time(self.now))
            .bind(machine.to_string())
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("keeping how a machine is doing"))?;
        }
        Ok(())
    }
}

struct TakeOver {
    owner: OwnerId,
    now: Timestamp,
}

impl Write for TakeOver {
    type Output = u64;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<u64, DbError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "UPDATE machine SET owner = ?, running = 0 WHERE pool IS NOT NULL AND seen <> 'gone' AND owner IN
                 (SELECT id FROM owner WHERE ended IS NOT NULL) RETURNING id",
        )
        .bind(self.owner.to_string())
        .fetch_all(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("taking over machines"))?;
        for id in &ids {
            let machine: MachineId = Row { table: "machine", id }.text("id", id)?;
            add_event(txn, machine, "taken over", "from a croft process that died", self.now).await?;
        }
        Ok(ids.len() as u64)
    }
}
