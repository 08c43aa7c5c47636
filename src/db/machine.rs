//! Machines: what is wanted, what is seen, and the guarded changes of both. Each change tells the event log why.

use sqlx::FromRow;

use super::{
    Db, DbError, OwnerGuard,
    column::{self, Row},
    machine_event::add_event,
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{FarmId, MachineId, OwnerId},
    lifecycle::{EndReason, Hold, InstanceId, Reach, Seen, Shape, Wanted},
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

/// A machine on record.
#[derive(Debug, Clone)]
pub struct MachineRecord {
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: String,
    /// Its pool; none for a builder that is always there.
    pub pool: Option<String>,
    /// Who provides it.
    pub provider: String,
    /// How it is had.
    pub shape: Option<Shape>,
    /// Why it exists.
    pub why: String,
    /// The process that looks after it.
    pub owner: Option<OwnerId>,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// What is seen of it.
    pub seen: Seen,
    /// Since when that is wanted.
    pub wanted_since: Timestamp,
    /// Since when that is seen.
    pub seen_since: Timestamp,
    /// The machine that it replaces.
    pub replaces: Option<MachineId>,
    /// Why it is no longer wanted.
    pub ending: Option<EndReason>,
    /// What keeps it from new work.
    pub hold: Option<Hold>,
    /// The provider's instance.
    pub instance: Option<InstanceId>,
    /// How it is reached.
    pub reach: Option<Reach>,
    /// Its public host key.
    pub host_key: Option<String>,
    /// How many builds it runs at once.
    pub slots: u32,
    /// Price for an hour, in millionths.
    pub price: u64,
    /// When the intent was recorded.
    pub requested: Timestamp,
    /// When the provider had it.
    pub launched: Option<Timestamp>,
    /// When it joined.
    pub joined: Option<Timestamp>,
    /// Since when it has nothing to do.
    pub idle_since: Option<Timestamp>,
    /// When it was gone.
    pub ended: Option<Timestamp>,
    /// Builds it has made.
    pub builds: u64,
    /// Infrastructure failures in a row.
    pub infra: u32,
    /// Builds that run on it now.
    pub running: u32,
    /// Whether the provider takes it back.
    pub interrupted: bool,
    /// The Nix it runs.
    pub nix: Option<String>,
    /// How it is, as a JSON document.
    pub health: Option<String>,
    /// When that was asked.
    pub health_at: Option<Timestamp>,
}

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

#[derive(FromRow)]
struct MachineRow {
    id: String,
    name: String,
    pool: Option<String>,
    provider: String,
    shape: Option<String>,
    why: String,
    owner: Option<String>,
    wanted: String,
    seen: String,
    wanted_since: i64,
    seen_since: i64,
    replaces: Option<String>,
    ending: Option<String>,
    hold: Option<String>,
    instance: Option<String>,
    reach: Option<String>,
    host_key: Option<String>,
    slots: i64,
    price: i64,
    requested: i64,
    launched: Option<i64>,
    joined: Option<i64>,
    idle_since: Option<i64>,
    ended: Option<i64>,
    builds: i64,
    infra: i64,
    running: i64,
    interrupted: bool,
    nix: Option<String>,
    health: Option<String>,
    health_at: Option<i64>,
}

impl TryFrom<MachineRow> for MachineRecord {
    type Error = DbError;

    fn try_from(row: MachineRow) -> Result<Self, DbError> {
        let at = Row { table: "machine", id: &row.id };
        let document = |name, text: &Option<String>| text.as_ref().map(|text| (name, text.clone()));
        let hold = document("hold", &row.hold).map(|(name, text)| at.json(name, &text)).transpose()?;
        let shape = document("shape", &row.shape).map(|(name, text)| at.json(name, &text)).transpose()?;
        let ending = document("ending", &row.ending).map(|(name, text)| at.json(name, &text)).transpose()?;
        let reach = document("reach", &row.reach).map(|(name, text)| at.json(name, &text)).transpose()?;
        let instance = row
            .instance
            .as_ref()
            .map(|text| InstanceId::new(text).ok_or_else(|| at.unknown("instance", text)));
        Ok(Self {
            id: at.text("id", &row.id)?,
            owner: at.maybe("owner", row.owner.as_ref())?,
            wanted: at.word("wanted", &row.wanted)?,
            seen: at.word("seen", &row.seen)?,
            wanted_since: column::untime(row.wanted_since),
            seen_since: column::untime(row.seen_since),
            replaces: at.maybe("replaces", row.replaces.as_ref())?,
            instance: instance.transpose()?,
            shape,
            ending,
            hold,
            reach,
            slots: u32::try_from(row.slots).unwrap_or(1),
            price: column::uint(row.price),
            requested: column::untime(row.requested),
            launched: row.launched.map(column::untime),
            joined: row.joined.map(column::untime),
            idle_since: row.idle_since.map(column::untime),
            ended: row.ended.map(column::untime),
            builds: column::uint(row.builds),
            infra: u32::try_from(row.infra).unwrap_or(u32::MAX),
            running: u32::try_from(row.running).unwrap_or(u32::MAX),
            interrupted: row.interrupted,
            health_at: row.health_at.map(column::untime),
            name: row.name,
            pool: row.pool,
            provider: row.provider,
            why: row.why,
            host_key: row.host_key,
            nix: row.nix,
            health: row.health,
        })
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
        match found {
            Some(id) => Row { table: "machine", id: &id }.text("id", &id),
            None => {
                insert(txn, machine, None, Seen::Booting, self.now).await?;
                Ok(machine.id)
            }
        }
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

struct Change {
    machine: MachineId,
    change: MachineChange,
    now: Timestamp,
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
