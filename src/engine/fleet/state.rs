//! The fleet as the policy sees it, from what is on record and what this process has seen. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::{record::Record, yard::Yard};
use crate::{
    clock::Timestamp,
    config::PoolName,
    db::{MachineLife, MachineRecord},
    lifecycle::{Seen, Wanted},
    schedule::{
        FleetState, MachineState, Unfit,
        cost::{Money, Spent, UpTime, spent},
    },
};

/// How long a machine that has joined may not be known yet to those who have work for it.
const NEW: Duration = Duration::from_secs(2);

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

/// The fleet for the question what is missing: a machine that has only just joined counts as still coming. What
/// waits for it may not have heard yet, and a second machine must not be launched for the same work.
pub(super) fn with_newcomers_awaited(state: &FleetState, now: Timestamp) -> FleetState {
    let mut state = state.clone();
    for machine in &mut state.machines {
        let is_new = machine.pool.is_some()
            && (machine.wanted, machine.seen) == (Wanted::Up, Seen::Ready)
            && machine.running == 0
            && machine.hold.is_none()
            && machine.unfit.is_none()
            && now.since(machine.seen_since) < NEW;
        if is_new {
            machine.seen = Seen::Booting;
        }
    }
    state
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::{FleetSettings, PoolSettings},
        ids::MachineId,
        plan::Class,
        schedule::{Demand, FleetAction, Need, decide},
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1000)
    }

    /// A pool of two, and one machine in it that joined at 100.
    fn joined() -> (PoolSettings, MachineState) {
        let toml = "name = \"demo\"\nprovider = \"fake\"\nsystems = [\"x86_64-linux\"]\nmax = 2\nboot_deadline = \"60s\"";
        let pool: PoolSettings = toml::from_str(toml).unwrap();
        let machine = MachineState {
            id: MachineId::new(at(0)),
            pool: Some(pool.name.clone()),
            shape: None,
            replaces: None,
            wanted: Wanted::Up,
            wanted_since: at(0),
            seen: Seen::Ready,
            seen_since: at(100),
            requested: at(0),
            joined: Some(at(100)),
            idle_since: Some(at(100)),
            running: 0,
            builds: 0,
            infra_in_a_row: 0,
            hold: None,
            unfit: None,
            interrupted: false,
            price: Money::ZERO,
        };
        (pool, machine)
    }

    #[test]
    fn no_second_machine_is_launched_for_work_that_has_not_heard_of_the_first() {
        let (pool, machine) = joined();
        let mut demand = Demand::default();
        let class = Class::new("x86_64-linux".parse().unwrap(), Arc::default());
        demand.add(&class, Need { builds: 1, longest: Duration::from_secs(1) });
        let launches = |machine: MachineState, now: Timestamp| {
            let state = FleetState { machines: vec![machine], ..FleetState::default() };
            let state = with_newcomers_awaited(&state, now);
            let actions =
                decide(&state, &demand, std::slice::from_ref(&pool), &FleetSettings::default(), now);
            assert!(!actions.iter().any(|action| matches!(action, FleetAction::End { .. })), "{actions:?}");
            actions.len()
        };
        assert_eq!(launches(machine.clone(), at(101)), 0);
        assert_eq!(launches(machine.clone(), at(103)), 1, "it has no room for what waits");
        assert_eq!(launches(MachineState { running: 1, ..machine.clone() }, at(101)), 1);
        let held = MachineState { hold: Some(crate::lifecycle::Hold::Drain), ..machine };
        assert_eq!(launches(held, at(101)), 1);
    }
}
