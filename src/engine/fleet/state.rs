//! The fleet as the policy sees it, from what is on record and what this process has seen. Pure.

use std::collections::BTreeMap;

use super::{record::Record, yard::Yard};
use crate::{
    clock::Timestamp,
    config::PoolName,
    db::{MachineLife, MachineRecord},
    lifecycle::Seen,
    schedule::{
        MachineState, Unfit,
        cost::{Money, Spent, UpTime, spent},
    },
};

/// The machines on record, with what this process has seen of them.
pub(super) fn machines(records: &[MachineRecord], yard: &Yard) -> Vec<MachineState> {
    records.iter().map(|record| machine(record, &yard.record(record.id), yard)).collect()
}

fn machine(machine: &MachineRecord, seen: &Record, yard: &Yard) -> MachineState {
    MachineState {
        id: machine.id,
        pool: machine.pool.as_ref().and_then(|name| name.parse().ok()),
        shape: machine.shape.clone(),
        replaces: machine.replaces,
        wanted: machine.wanted,
        wanted_since: machine.wanted_since,
        // Another process may have another way to a builder that is always there; what counts is ours.
        seen: if machine.pool.is_none() && yard.is_open(machine.id) { Seen::Ready } else { machine.seen },
        seen_since: machine.seen_since,
        requested: machine.requested,
        joined: machine.joined,
        idle_since: seen.idle_since,
        running: yard.visits(machine.id),
        builds: u32::try_from(machine.builds.max(seen.builds)).unwrap_or(u32::MAX),
        infra_in_a_row: yard.in_a_row(machine.id),
        hold: machine.hold.clone(),
        unfit: seen.unfit.as_ref().map(|(why, since)| Unfit { why: why.clone(), since: *since }),
        interrupted: machine.interrupted || seen.interrupted,
        price: Money::micros(machine.price),
    }
}

/// What each pool has cost lately.
pub(super) fn spending(lives: Vec<MachineLife>, now: Timestamp) -> BTreeMap<PoolName, Spent> {
    let mut by_pool: BTreeMap<PoolName, Vec<UpTime>> = BTreeMap::new();
    for life in lives {
        // A pool that has lost its name from the settings has no budget either.
        if let Ok(name) = life.pool.parse() {
            let up = UpTime { price: Money::micros(life.price), from: life.from, to: life.to };
            by_pool.entry(name).or_default().push(up);
        }
    }
    by_pool.into_iter().map(|(name, lives)| (name, spent(&lives, now))).collect()
}
