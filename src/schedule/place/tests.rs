//! Placement, against small fleets.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::*;
use crate::{
    clock::Timestamp,
    matrix::Resources,
    plan::{Class, Offer},
    schedule::{BuilderView, Closed, Probation, Stage, Standing, Work},
};

pub(crate) fn machine(number: u8) -> MachineId {
    format!("00000000-0000-7000-8000-0000000000{number:02x}").parse().unwrap()
}

pub(crate) fn builder(number: u8, slots: u32) -> BuilderView {
    let offer = Offer {
        systems: BTreeSet::from(["x86_64-linux".parse().unwrap()]),
        features: BTreeSet::new(),
        mandatory: BTreeSet::new(),
        capacity: Resources { cores: Some(8), memory: Some(8000), disk: None },
    };
    BuilderView {
        id: machine(number),
        pool: None,
        offer: Arc::new(offer),
        slots,
        speed: 1.0,
        standing: Standing::Open,
        free_disk: None,
    }
}

pub(crate) fn class() -> Class {
    Class::new("x86_64-linux".parse().unwrap(), Arc::default())
}

fn with_memory(mib: u64) -> Class {
    Class { resources: Resources { memory: Some(mib), ..Resources::default() }, ..class() }
}

pub(crate) fn schedule(work: impl IntoIterator<Item = (u32, u64, Class)>) -> Schedule {
    let mut schedule = Schedule::default();
    for (node, seconds, class) in work {
        let expected = Duration::from_secs(seconds);
        schedule.add(Work { node: NodeId::new(node), after: Vec::new(), expected, class });
    }
    schedule
}

fn fleet(builders: impl IntoIterator<Item = BuilderView>) -> FleetView {
    let mut fleet = FleetView::default();
    builders.into_iter().for_each(|view| fleet.put(view));
    fleet
}

fn nothing_held(_: MachineId, _: NodeId) -> u64 {
    0
}

fn place(schedule: &mut Schedule, fleet: &mut FleetView) -> Option<(u32, MachineId)> {
    schedule.place(fleet, nothing_held).map(|placement| (placement.node.number(), placement.machine))
}

#[test]
fn inputs_that_are_there_come_before_speed_and_speed_before_fullness() {
    let fast = BuilderView { speed: 2.0, ..builder(2, 2) };
    let mut schedule = schedule((0..5).map(|node| (node, 9, class())));
    let mut fleet = fleet([builder(1, 2), fast, builder(3, 1)]);
    let held = schedule.place(&mut fleet, |id, _| u64::from(id == machine(3))).unwrap();
    assert_eq!(held.machine, machine(3));
    let placed = std::iter::from_fn(|| place(&mut schedule, &mut fleet)).map(|(_, id)| id);
    assert_eq!(placed.collect::<Vec<_>>(), [machine(2), machine(2), machine(1), machine(1)]);
}

#[test]
fn the_fullest_of_equal_builders_is_filled_first() {
    let mut schedule = schedule((0..3).map(|node| (node, 9, class())));
    let mut fleet = fleet([builder(1, 3), builder(2, 3), builder(3, 3)]);
    fleet.occupy(machine(2), Resources::default()).unwrap();
    assert_eq!(place(&mut schedule, &mut fleet).unwrap().1, machine(2));
    assert_eq!(place(&mut schedule, &mut fleet).unwrap().1, machine(2));
    assert_eq!(place(&mut schedule, &mut fleet).unwrap().1, machine(1));
}

#[test]
fn memory_of_running_builds_is_counted() {
    let mut schedule = schedule([(0, 9, with_memory(5000)), (1, 8, with_memory(5000)), (2, 1, class())]);
    let mut fleet = fleet([builder(1, 4)]);
    let first = schedule.place(&mut fleet, nothing_held).unwrap();
    assert_eq!(place(&mut schedule, &mut fleet), Some((2, machine(1))), "1 has no room, 2 asks for none");
    assert_eq!(place(&mut schedule, &mut fleet), None);
    fleet.vacate(first.slot);
    fleet.vacate(first.slot);
    assert_eq!(place(&mut schedule, &mut fleet), Some((1, machine(1))));
}

#[test]
fn a_disk_that_is_nearly_full_is_too_small() {
    let disk = Class { resources: Resources { disk: Some(500), ..Resources::default() }, ..class() };
    let mut schedule = schedule([(0, 9, disk)]);
    let mut fleet = fleet([BuilderView { free_disk: Some(499), ..builder(1, 1) }]);
    assert_eq!(place(&mut schedule, &mut fleet), None);
    fleet.put(BuilderView { free_disk: Some(500), ..builder(1, 1) });
    assert!(place(&mut schedule, &mut fleet).is_some());
}

#[test]
fn closed_and_removed_builders_get_nothing() {
    let mut schedule = schedule([(0, 9, class())]);
    let quarantine = Closed::Quarantine { until: Some(Timestamp::from_millis(1)), why: "x".to_owned() };
    let mut fleet = fleet([builder(1, 1), builder(2, 1)]);
    fleet.set_standing(machine(1), Standing::Closed(quarantine));
    fleet.remove(machine(2));
    assert_eq!(place(&mut schedule, &mut fleet), None);
    fleet.set_standing(machine(1), Standing::Open);
    assert!(place(&mut schedule, &mut fleet).is_some());
}

#[test]
fn after_a_fault_of_the_machine_work_goes_elsewhere_if_there_is_an_elsewhere() {
    let mut schedule = schedule([(0, 9, class())]);
    let mut fleet = fleet([builder(1, 1), builder(2, 1)]);
    let first = schedule.place(&mut fleet, nothing_held).unwrap();
    assert_eq!(first.machine, machine(1));
    schedule.retry(first.node, first.machine);
    fleet.vacate(first.slot);
    let busy = fleet.occupy(machine(2), Resources::default()).unwrap();
    assert_eq!(place(&mut schedule, &mut fleet), None, "the other one is busy, and worth waiting for");
    fleet.vacate(busy);
    let second = schedule.place(&mut fleet, nothing_held).unwrap();
    assert_eq!(second.machine, machine(2));
    schedule.retry(second.node, second.machine);
    fleet.vacate(second.slot);
    fleet.remove(machine(2));
    assert_eq!(place(&mut schedule, &mut fleet), Some((0, machine(1))), "there is no elsewhere");
    assert_eq!(schedule.stage(NodeId::new(0)), Some(Stage::Running));
}

#[test]
fn on_probation_one_unproved_machine_is_tried_at_a_time() {
    let mut schedule = schedule((0..5).map(|node| (node, 9, class())));
    let mut fleet = fleet([builder(1, 2), builder(2, 2), builder(3, 2)]);
    fleet.set_probation(Some(Probation { proved: BTreeSet::from([machine(3)]) }));
    let placed: Vec<_> = std::iter::from_fn(|| schedule.place(&mut fleet, nothing_held)).collect();
    let on = |number| placed.iter().filter(|placement| placement.machine == machine(number)).count();
    assert_eq!((on(1), on(2), on(3)), (1, 0, 2));
    fleet.set_probation(None);
    assert!(place(&mut schedule, &mut fleet).is_some());
}
