//! Policies and loops with a fault each: the checks must find every one of them.

use croft::{
    clock::Timestamp,
    config::{FleetSettings, PoolSettings},
    lifecycle::{EndReason, Seen},
    schedule::{Demand, FleetAction, FleetState, decide},
};

use super::{
    hub::{Policy, SHIPPED, Slip},
    search,
};

/// A mutant is found within so many seeds.
const SEEDS: u64 = 400;

type Actions = Vec<FleetAction>;

fn forgets_what_is_on_its_way(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let mut state = state.clone();
    state.machines.retain(|machine| !matches!(machine.seen, Seen::Requested | Seen::Booting));
    decide(&state, demand, pools, fleet, now)
}

fn takes_busy_machines_for_idle_ones(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let mut state = state.clone();
    for machine in &mut state.machines {
        machine.running = 0;
        machine.idle_since = machine.idle_since.or(machine.joined);
    }
    decide(&state, demand, pools, fleet, now)
}

fn knows_no_budget(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let mut state = state.clone();
    state.spent.clear();
    decide(&state, demand, pools, fleet, now)
}

fn waits_for_ever(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let is_deadline = |reason: &EndReason| matches!(reason, EndReason::NeverJoined(_) | EndReason::Lost(_));
    let mut actions = decide(state, demand, pools, fleet, now);
    actions.retain(|action| !matches!(action, FleetAction::End { reason, .. } if is_deadline(reason)));
    actions
}

fn never_quarantines(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let mut state = state.clone();
    state.machines.iter_mut().for_each(|machine| machine.infra_in_a_row = 0);
    decide(&state, demand, pools, fleet, now)
}

fn never_scales_down(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let mut actions = decide(state, demand, pools, fleet, now);
    let is_idle = |reason: &EndReason| matches!(reason, EndReason::Idle | EndReason::Age);
    actions.retain(|action| !matches!(action, FleetAction::End { reason, .. } if is_idle(reason)));
    actions
}

fn launches_without_a_limit(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Actions {
    let fleet = FleetSettings { launches_per_minute: 1000, ..fleet.clone() };
    decide(state, demand, pools, &fleet, now)
}

fn is_found(name: &str, policy: Policy, slip: Slip, words: &[&str]) {
    let (found, _) = search(SEEDS, policy, slip);
    let Some((_, wrong)) = found else { panic!("{name} is not found") };
    assert!(words.iter().any(|word| wrong.contains(word)), "{name} is found as: {wrong}");
}

#[test]
fn the_checks_find_every_faulty_policy() {
    let found = |name, policy, words| is_found(name, policy, Slip::Nothing, words);
    found("forgetting what is on its way", forgets_what_is_on_its_way, &["more than", "projected"]);
    found("taking busy machines for idle ones", takes_busy_machines_for_idle_ones, &["builds and is"]);
    found("knowing no budget", knows_no_budget, &["projected"]);
    found("waiting for ever", waits_for_ever, &["in vain", "for ever"]);
    found("never quarantining", never_quarantines, &["failed too often"]);
    found("never scaling down", never_scales_down, &["rest"]);
    found("launching without a limit", launches_without_a_limit, &["in a minute"]);
}

#[test]
fn the_checks_find_every_faulty_loop() {
    let found = |slip, words| is_found(&format!("{slip:?}"), SHIPPED, slip, words);
    found(Slip::KillsTheYoung, &["more than", "projected", "orphan"]);
    found(Slip::BelievesEveryList, &["more than", "projected", "orphan"]);
    found(Slip::EndsWhatBuilds, &["builds and is ended"]);
    found(Slip::LosesWork, &["rest"]);
    found(Slip::TwoIds, &["more than", "projected", "orphan"]);
    found(Slip::TakesInfraForAVerdict, &["is told Failed"]);
}
