//! Each rule of the policy, on small fleets.

use std::time::Duration;

use super::*;
use crate::{
    lifecycle::{Hold, Market},
    schedule::{
        LaunchFault, Need, Probation, Unfit,
        cost::{Money, Spent},
        place::tests::{class, machine},
    },
};

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

pub(crate) fn pool(more: &str) -> PoolSettings {
    let text = format!("name = \"p\"\nprovider = \"fake\"\nsystems = [\"x86_64-linux\"]\n{more}");
    toml::from_str(&text).unwrap()
}

fn shape() -> Shape {
    Shape { instance_type: None, zone: None, market: Market::OnDemand }
}

/// A machine that has been idle since it joined at 100 s.
pub(crate) fn idle(number: u8) -> MachineState {
    MachineState {
        id: machine(number),
        pool: Some("p".parse().unwrap()),
        shape: Some(shape()),
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
        price: Money::from_setting(1.0),
    }
}

fn busy(number: u8) -> MachineState {
    MachineState { idle_since: None, running: 1, ..idle(number) }
}

pub(crate) fn booting(number: u8) -> MachineState {
    MachineState { seen: Seen::Booting, joined: None, idle_since: None, ..idle(number) }
}

fn asleep(number: u8) -> MachineState {
    MachineState { wanted: Wanted::Dormant, seen: Seen::Dormant, idle_since: None, ..idle(number) }
}

pub(crate) fn fleet(machines: impl IntoIterator<Item = MachineState>) -> FleetState {
    FleetState { machines: machines.into_iter().collect(), ..FleetState::default() }
}

fn demand(builds: u64) -> Demand {
    let mut demand = Demand::default();
    demand.add(&class(), Need { builds, longest: Duration::from_secs(9) });
    demand
}

fn decided(state: &FleetState, builds: u64, pool: &PoolSettings, now: u64) -> Vec<FleetAction> {
    let settings = FleetSettings::default();
    decide(state, &demand(builds), std::slice::from_ref(pool), &settings, at(now))
}

/// The actions, in short words.
fn words(actions: &[FleetAction]) -> Vec<String> {
    let last = |id: &MachineId| id.to_string().split_off(34);
    actions
        .iter()
        .map(|action| match action {
            FleetAction::Launch { shape, .. } => format!("launch {shape}"),
            FleetAction::Wake { machine } => format!("wake {}", last(machine)),
            FleetAction::Sleep { machine } => format!("sleep {}", last(machine)),
            FleetAction::End { machine, reason } => format!("end {}: {reason}", last(machine)),
            FleetAction::Quarantine { machine, .. } => format!("quarantine {}", last(machine)),
            FleetAction::Release { machine } => format!("release {}", last(machine)),
        })
        .collect()
}

fn said(state: &FleetState, builds: u64, more: &str, now: u64) -> Vec<String> {
    words(&decided(state, builds, &pool(more), now))
}

const NONE: [&str; 0] = [];

#[test]
fn it_launches_for_what_waits_less_what_is_on_its_way() {
    assert_eq!(said(&fleet([]), 5, "max = 9\nslots = 2", 0).len(), 3);
    assert_eq!(said(&fleet([booting(1)]), 5, "max = 9\nslots = 2", 1).len(), 2);
    let requested = MachineState { seen: Seen::Requested, ..booting(1) };
    assert_eq!(said(&fleet([requested]), 2, "max = 9\nslots = 2", 1), NONE);
}

#[test]
fn it_never_goes_beyond_the_most_whatever_state_machines_are_in() {
    let leaving = MachineState { wanted: Wanted::Gone, ..busy(2) };
    assert_eq!(said(&fleet([booting(1), leaving, busy(3)]), 50, "max = 4", 1).len(), 1);
    assert_eq!(said(&fleet([]), 50, "max = 40", 0).len(), 20, "and no more than 20 in a minute");
}

#[test]
fn large_builds_count_as_many_machines() {
    let mut large = Demand::default();
    let mut of_class = class();
    of_class.resources.memory = Some(3000);
    large.add(&of_class, Need { builds: 4, longest: Duration::ZERO });
    let pools = [pool("max = 9\nslots = 8\nmemory = 6000")];
    let actions = decide(&fleet([]), &large, &pools, &FleetSettings::default(), at(0));
    assert_eq!(actions.len(), 2, "two of them on each");
}

#[test]
fn the_least_is_kept_and_sleepers_are_woken_first() {
    assert_eq!(said(&fleet([]), 0, "max = 4\nmin = 2", 0).len(), 2);
    assert_eq!(said(&fleet([asleep(1)]), 2, "max = 4\nwarm = 1", 200), ["wake 01", "launch on-demand"]);
    assert_eq!(said(&fleet([idle(1), idle(2)]), 0, "max = 4\nmin = 1", 700), ["end 01: idle"]);
}

#[test]
fn idle_machines_sleep_up_to_warm_and_else_end_and_busy_ones_never() {
    let mut state = fleet([idle(1), idle(2), busy(3)]);
    state.dormancy.insert("p".parse().unwrap());
    assert_eq!(said(&state, 0, "max = 4\nwarm = 1", 700), ["sleep 01", "end 02: idle"]);
    assert_eq!(said(&state, 0, "max = 4\nwarm = 1", 699), NONE);
    state.machines[0].wanted = Wanted::Dormant;
    state.machines[0].seen = Seen::Dormant;
    assert_eq!(said(&state, 0, "max = 4", 200), ["end 01: idle"], "no more sleepers than settings keep");
}

#[test]
fn deadlines_end_what_does_not_come_or_come_back() {
    assert_eq!(
        said(&fleet([booting(1)]), 0, "max = 1", 300),
        ["end 01: did not join: it did not answer within 5m"]
    );
    assert_eq!(said(&fleet([booting(1)]), 1, "max = 1", 299), NONE);
    let lost = MachineState { seen: Seen::Unreachable, seen_since: at(200), ..busy(1) };
    assert_eq!(said(&fleet([lost.clone()]), 0, "max = 1", 319), NONE);
    assert_eq!(said(&fleet([lost]), 0, "max = 1", 320), ["end 01: lost: it has not answered for 2m"]);
    let stuck = MachineState { wanted: Wanted::Dormant, wanted_since: at(200), ..idle(1) };
    assert_eq!(said(&fleet([stuck]), 0, "max = 1\nwarm = 1", 800), ["end 01: lost: it did not stop"]);
}

#[test]
fn an_interrupted_machine_drains() {
    let taken = MachineState { interrupted: true, ..busy(1) };
    let state = fleet([taken.clone()]);
    assert_eq!(said(&state, 0, "max = 1", 200), ["end 01: taken back by the provider"]);
    assert!(!may_end(&MachineState { wanted: Wanted::Gone, ..taken.clone() }), "what runs there may finish");
    assert!(may_end(&MachineState { wanted: Wanted::Gone, running: 0, ..taken }));
}

#[test]
fn age_and_builds_recycle_with_the_replacement_first_if_it_is_needed() {
    let day = 86_400;
    assert_eq!(said(&fleet([busy(1)]), 0, "max = 2", day), ["end 01: reached its maximum age"]);
    let actions = decided(&fleet([busy(1)]), 1, &pool("max = 3\nmax_builds = 5"), day);
    assert!(matches!(&actions[1], FleetAction::Launch { reason: LaunchReason::Replacement { .. }, .. }));
    let coming =
        MachineState { replaces: Some(machine(1)), requested: at(day), wanted_since: at(day), ..booting(2) };
    assert_eq!(said(&fleet([busy(1), coming.clone()]), 1, "max = 3", day + 1), NONE);
    let joined = MachineState { seen: Seen::Ready, joined: Some(at(day + 9)), running: 1, ..coming };
    assert_eq!(said(&fleet([busy(1), joined]), 1, "max = 2", day + 9), ["end 01: reached its maximum age"]);
    assert_eq!(
        said(&fleet([busy(1), busy(2)]), 9, "max = 2", day),
        ["end 01: reached its maximum age"],
        "one after the other where there is no room"
    );
    let built = MachineState { builds: 5, ..idle(1) };
    assert_eq!(
        said(&fleet([built]), 0, "max = 2\nmax_builds = 5", 200),
        ["end 01: reached its maximum number of builds"]
    );
}

#[test]
fn three_failures_in_a_row_end_a_launched_machine_and_quarantine_another() {
    let bad = MachineState { infra_in_a_row: 3, ..idle(1) };
    assert_eq!(
        said(&fleet([bad.clone()]), 0, "max = 1", 200),
        ["end 01: unhealthy: 3 infrastructure failures in a row"]
    );
    let fixed = MachineState { pool: None, ..bad };
    assert_eq!(said(&fleet([fixed.clone()]), 0, "max = 1", 200), ["quarantine 01"]);
    let hold = Hold::Quarantine { until: Some(at(2000)), why: String::new() };
    let held = MachineState { hold: Some(hold), ..fixed };
    assert_eq!(said(&fleet([held.clone()]), 0, "max = 1", 1999), NONE);
    assert_eq!(said(&fleet([held]), 0, "max = 1", 2000), ["release 01"]);
}

#[test]
fn an_unfit_machine_is_refused_at_the_door_and_given_up_after_a_while() {
    let unfit = |since| Some(Unfit { why: "full".to_owned(), since: at(since) });
    let new = MachineState { unfit: unfit(90), ..booting(1) };
    assert_eq!(said(&fleet([new]), 0, "max = 1", 91), ["end 01: refused: full"]);
    let full = MachineState { unfit: unfit(200), ..busy(1) };
    assert_eq!(said(&fleet([full.clone()]), 0, "max = 1", 499), NONE);
    assert_eq!(said(&fleet([full]), 0, "max = 1", 500), ["end 01: unhealthy: full"]);
}

#[test]
fn a_shape_without_capacity_gives_way_to_the_next_type_then_zone_then_market() {
    let pool = pool("max = 9\nspot = 100\ntypes = [\"a\", \"b\"]\nzones = [\"x\", \"y\"]");
    let (mut state, mut seen) = (fleet([]), Vec::new());
    while let [FleetAction::Launch { shape, .. }] = &decided(&state, 1, &pool, 0)[..] {
        seen.push(shape.to_string());
        let mut rng = fastrand::Rng::with_seed(1);
        state.memory.refused(&pool.name, shape, LaunchFault::Capacity, at(0), &mut rng);
    }
    assert_eq!(
        seen,
        [
            "spot a in x",
            "spot b in x",
            "spot a in y",
            "spot b in y",
            "on-demand a in x",
            "on-demand b in x",
            "on-demand a in y",
            "on-demand b in y"
        ]
    );
    assert_eq!(decided(&state, 1, &pool, 180).len(), 1, "all is tried again after three minutes");
}

#[test]
fn the_spot_share_is_kept() {
    let launches = said(&fleet([]), 10, "max = 10\nspot = 30", 0);
    assert_eq!(launches.iter().filter(|launch| launch.contains("spot")).count(), 3);
    let mut state = fleet([]);
    let spot = Shape { market: Market::Spot, ..shape() };
    let mut rng = fastrand::Rng::with_seed(1);
    state.memory.refused(&"p".parse().unwrap(), &spot, LaunchFault::Capacity, at(0), &mut rng);
    assert_eq!(said(&state, 1, "max = 9\nspot = 100\nspot_fallback = false", 0), NONE);
}

#[test]
fn a_budget_blocks_launches_and_ends_nothing_that_builds() {
    let mut state = fleet([busy(1)]);
    let spent = |day| Spent { day: Money::from_setting(day), ..Spent::default() };
    let more = "max = 9\nprice = 1.0\nbudget_day = 5.0";
    state.spent.insert("p".parse().unwrap(), spent(1.0));
    assert_eq!(said(&state, 9, more, 200).len(), 3, "1 spent, 1 for an hour of what is up, 3 more");
    state.spent.insert("p".parse().unwrap(), spent(5.0));
    assert_eq!(said(&state, 9, &format!("{more}\nmin = 2"), 200), NONE);
    assert!(budget_until(&pool(more), &state, at(200)).is_some());
}

#[test]
fn after_refused_credentials_one_order_at_a_time_is_tried() {
    let mut state = fleet([]);
    let fault = LaunchFault::Credentials("expired".to_owned());
    let mut rng = fastrand::Rng::with_seed(1);
    state.memory.refused(&"p".parse().unwrap(), &shape(), fault, at(0), &mut rng);
    assert_eq!(said(&state, 5, "max = 9", 10), NONE);
    assert_eq!(said(&state, 5, "max = 9", 100).len(), 1);
}

#[test]
fn machines_that_do_not_boot_stop_the_launching() {
    let mut state = fleet([]);
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..3 {
        state.memory.boot_failed(&"p".parse().unwrap(), &shape(), at(0), &mut rng);
    }
    assert_eq!(said(&state, 5, "max = 9", 10), NONE);
    assert_eq!(said(&state, 5, "max = 9", 400).len(), 1, "and then one is tried");
}

#[test]
fn while_most_builds_fail_no_machines_are_added_but_a_first() {
    let mut state = fleet([busy(1)]);
    state.probation = Some(Probation::default());
    assert_eq!(said(&state, 5, "max = 9", 200), NONE);
    state.machines.clear();
    assert_eq!(said(&state, 5, "max = 9", 200).len(), 1);
}

#[test]
fn the_end_of_the_last_run_and_of_a_pool_end_machines() {
    let fixed = MachineState { pool: None, ..idle(3) };
    assert_eq!(
        words(&wind_down(&fleet([busy(1), asleep(2), fixed]))),
        ["end 01: the run is over", "end 02: the run is over"]
    );
    let actions = decide(&fleet([busy(1)]), &demand(1), &[], &FleetSettings::default(), at(200));
    assert_eq!(words(&actions), ["end 01: its pool is no longer configured"]);
}
