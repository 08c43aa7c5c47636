//! A machine as it is on record.

use sqlx::FromRow;

use super::{
    DbError,
    column::{self, Row},
};
use crate::{
    clock::Timestamp,
    ids::{MachineId, OwnerId},
    lifecycle::{EndReason, Hold, InstanceId, Reach, Seen, Shape, Wanted},
};

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

#[derive(FromRow)]
pub(super) struct MachineRow {
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
