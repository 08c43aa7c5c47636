//! What is left over when the free slots are counted.

use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::{
    matrix::Resources,
    schedule::place::tests::{builder, class, machine, schedule},
};

#[test]
fn what_fits_a_free_slot_is_no_demand() {
    let schedule = schedule((0..5).map(|node| (node, u64::from(node), class())));
    let mut fleet = FleetView::default();
    assert_eq!(schedule.demand(&fleet).of(&class()).builds, 5);
    fleet.put(builder(1, 2));
    fleet.put(builder(2, 1));
    fleet.occupy(machine(1), Resources::default()).unwrap();
    let demand = schedule.demand(&fleet);
    assert_eq!(demand.of(&class()), Need { builds: 3, longest: Duration::from_secs(4) });
}

#[test]
fn a_slot_is_kept_for_what_fits_nowhere_else() {
    let kvm = Class::new(class().system, Arc::new(BTreeSet::from(["kvm".parse().unwrap()])));
    let schedule = schedule([(0, 9, class()), (1, 1, kvm.clone())]);
    let mut fleet = FleetView::default();
    let mut only = builder(1, 1);
    let mut offer = only.offer.as_ref().clone();
    offer.features = BTreeSet::from(["kvm".parse().unwrap()]);
    only.offer = Arc::new(offer);
    fleet.put(only);
    fleet.put(builder(2, 1));
    assert!(schedule.demand(&fleet).is_empty(), "one slot for each");
}

#[test]
fn the_demands_of_several_runs_are_summed_over_the_same_slots() {
    let runs = [schedule([(0, 9, class()), (1, 1, class())]), schedule([(0, 3, class())])];
    let mut fleet = FleetView::default();
    fleet.put(builder(1, 1));
    assert_eq!(Demand::of_all(&runs, &fleet).of(&class()).builds, 2);
    let mut sum = runs[0].demand(&fleet);
    sum.merge(&runs[1].demand(&FleetView::default()));
    assert_eq!(sum.of(&class()), Need { builds: 2, longest: Duration::from_secs(9) });
}
