//! The sentence for each reason to wait.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    lifecycle::{Market, Shape},
    schedule::{
        BuilderView, LaunchFault, Standing, Work,
        cost::{Money, Spent},
        place::tests::{builder, class, machine, schedule},
        policy::tests::{at, booting, fleet, pool},
    },
};

fn outlook(view: &FleetView, state: &FleetState, pools: &[PoolSettings]) -> Outlook {
    let settings = FleetSettings::default();
    let situation = Situation { view, state, pools, fleet: &settings, now: at(200) };
    situation.outlook(&class(), "hello", |_| Some(at(260)))
}

fn said(view: &FleetView, state: &FleetState, pools: &[PoolSettings]) -> String {
    outlook(view, state, pools).reason.to_string()
}

fn busy_builder() -> FleetView {
    let mut view = FleetView::default();
    view.put(builder(1, 1));
    view.occupy(machine(1), class().resources).unwrap();
    view
}

#[test]
fn a_busy_builder_and_no_pool() {
    let view = busy_builder();
    let wait = outlook(&view, &fleet([]), &[]);
    assert_eq!(wait.reason.to_string(), "waits for a slot: the builder that fits is busy");
    assert_eq!(wait.until, Some(at(260)));
}

#[test]
fn a_machine_on_its_way_or_about_to_be() {
    let pools = [pool("max = 2")];
    assert_eq!(
        said(&busy_builder(), &fleet([booting(2)]), &pools),
        "waits for machine 00000000-0000-7000-8000-000000000002, on its way since 1970-01-01T00:00:00Z"
    );
    assert_eq!(
        said(&FleetView::default(), &fleet([]), &pools),
        "a machine of pool p is about to be launched"
    );
}

#[test]
fn a_pool_that_gets_none_says_why() {
    let (pools, view) = ([pool("max = 2\nprice = 1.0\nbudget_day = 2.0")], busy_builder());
    let shape = Shape { instance_type: None, zone: None, market: Market::OnDemand };
    let refused = |fault| {
        let mut state = fleet([]);
        state.memory.refused(&pools[0].name, &shape, fault, at(200), &mut fastrand::Rng::with_seed(7));
        outlook(&view, &state, &pools)
    };
    let wait = refused(LaunchFault::Capacity);
    assert_eq!(
        wait.reason.to_string(),
        "pool p gets no machine: its provider has no capacity; on-demand is tried again at 1970-01-01T00:06:20Z"
    );
    let quota = refused(LaunchFault::Quota("32 vCPUs".to_owned())).reason.to_string();
    assert!(
        quota.starts_with("pool p gets no machine: a limit of the account is reached (32 vCPUs)"),
        "{quota}"
    );
    let mut state = fleet([]);
    let spent = Spent { day: Money::from_setting(1.5), day_eases: Some(at(90_000)), ..Spent::default() };
    state.spent.insert(pools[0].name.clone(), spent);
    assert_eq!(
        said(&FleetView::default(), &state, &pools),
        "pool p gets no machine: 1.50 of the budget of 2.00 for 24 h is spent, and one more machine would go beyond \
         it; some of it is free again at 1970-01-02T01:00:00Z"
    );
}

#[test]
fn a_closed_builder_a_lack_of_room_and_what_can_never_be() {
    let mut view = FleetView::default();
    let why =
        Closed::Quarantine { until: Some(at(900)), why: "3 infrastructure failures in a row".to_owned() };
    view.put(BuilderView { standing: Standing::Closed(why), ..builder(1, 1) });
    let wait = outlook(&view, &fleet([]), &[]);
    assert_eq!(
        wait.reason.to_string(),
        "the only builder that fits (00000000-0000-7000-8000-000000000001) is in quarantine until \
         1970-01-01T00:15:00Z: 3 infrastructure failures in a row"
    );
    assert_eq!(wait.until, Some(at(900)));
    assert_eq!(
        said(&FleetView::default(), &fleet([]), &[]),
        "can never start: hello needs a builder for x86_64-linux, and none is configured"
    );
    let mut view = FleetView::default();
    let mut small = builder(1, 2);
    let mut offer = small.offer.as_ref().clone();
    offer.capacity.cores = Some(1);
    small.offer = Arc::new(offer);
    view.put(small);
    let asks = crate::matrix::Resources { cores: Some(1), ..class().resources };
    view.occupy(machine(1), asks).unwrap();
    let settings = FleetSettings::default();
    let state = fleet([]);
    let situation = Situation { view: &view, state: &state, pools: &[], fleet: &settings, now: at(0) };
    let large = Class { resources: asks, ..class() };
    assert_eq!(
        situation.outlook(&large, "hello", |_| None).reason.to_string(),
        "waits until a builder has enough memory, cores or disk free"
    );
}

#[test]
fn a_build_waits_for_its_input_and_then_as_its_class_does() {
    let mut schedule = schedule([(0, 9, class())]);
    let second =
        Work { node: NodeId::new(1), after: vec![NodeId::new(0)], expected: Duration::ZERO, class: class() };
    schedule.add(second);
    let of_class = outlook(&busy_builder(), &fleet([]), &[]);
    let reason = |schedule: &Schedule, node| schedule.wait_reason(NodeId::new(node), &of_class);
    assert_eq!(reason(&schedule, 0), Some(of_class.clone()));
    assert_eq!(reason(&schedule, 1).unwrap().reason, WaitReason::Input(NodeId::new(0)));
    let mut view = FleetView::default();
    view.put(builder(1, 1));
    schedule.place(&mut view, |_, _| 0).unwrap();
    assert_eq!(reason(&schedule, 0), None, "it runs");
}
