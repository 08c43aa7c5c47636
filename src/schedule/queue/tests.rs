//! The schedule as a whole, against small graphs and a model.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::matrix::Resources;

fn class(system: &str) -> Class {
    Class::new(system.parse().unwrap(), Arc::default())
}

fn offer(system: &str) -> Offer {
    Offer {
        systems: BTreeSet::from([system.parse().unwrap()]),
        features: BTreeSet::new(),
        mandatory: BTreeSet::new(),
        capacity: Resources::default(),
    }
}

fn work(node: u32, after: &[u32], seconds: u64) -> Work {
    Work {
        node: NodeId::new(node),
        after: after.iter().map(|n| NodeId::new(*n)).collect(),
        expected: Duration::from_secs(seconds),
        class: class("x86_64-linux"),
    }
}

fn take_all(schedule: &mut Schedule) -> Vec<u32> {
    let offer = offer("x86_64-linux");
    std::iter::from_fn(|| schedule.take(&offer)).map(NodeId::number).collect()
}

#[test]
fn the_longest_remaining_path_goes_first() {
    let mut schedule = Schedule::default();
    for item in [work(0, &[], 5), work(1, &[], 1), work(2, &[1], 10), work(3, &[], 7)] {
        schedule.add(item);
    }
    assert_eq!(take_all(&mut schedule), [1, 3, 0], "1 is short itself, but leads to 2");
    schedule.finish(NodeId::new(1), End::Made);
    assert_eq!(take_all(&mut schedule), [2]);
}

#[test]
fn a_failure_blocks_all_that_needs_it_and_nothing_else() {
    let mut schedule = Schedule::default();
    for item in [work(0, &[], 1), work(1, &[0], 1), work(2, &[1], 1), work(3, &[], 1)] {
        schedule.add(item);
    }
    assert_eq!(take_all(&mut schedule), [0, 3]);
    let blocked = schedule.finish(NodeId::new(0), End::Failed);
    assert_eq!(blocked.into_iter().map(NodeId::number).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    assert_eq!(schedule.add(work(4, &[2], 1)), Added::Blocked, "what comes later is blocked too");
    schedule.finish(NodeId::new(3), End::Made);
    assert!(schedule.is_idle());
}

#[test]
fn work_goes_only_where_it_fits() {
    let mut schedule = Schedule::default();
    schedule.add(Work { class: class("aarch64-linux"), ..work(0, &[], 1) });
    assert_eq!(schedule.take(&offer("x86_64-linux")), None);
    assert!(schedule.take(&offer("aarch64-linux")).is_some());
}

proptest! {
    /// Any graph is done exactly once, in an order that respects its edges, whatever fails on the way.
    #[test]
    fn every_item_is_taken_once_after_its_inputs(
        edges in prop::collection::vec(prop::collection::vec(0u32..40, 0..4), 1..40),
        failing in prop::collection::btree_set(0u32..40, 0..4),
        slots in 1usize..4,
    ) {
        let mut schedule = Schedule::default();
        let mut inputs = Vec::new();
        for (node, wanted) in edges.iter().enumerate() {
            let node = u32::try_from(node).unwrap();
            let after: BTreeSet<u32> = wanted.iter().filter(|n| **n < node).copied().collect();
            let after: Vec<u32> = after.into_iter().collect();
            schedule.add(work(node, &after, u64::from(node % 7)));
            inputs.push(after);
        }
        let (mut made, mut dead, mut running) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        loop {
            while running.len() < slots {
                let Some(node) = schedule.take(&offer("x86_64-linux")) else { break };
                let node = node.number();
                prop_assert!(inputs[node as usize].iter().all(|n| made.contains(n)));
                running.push(node);
            }
            let Some(node) = running.pop() else { break };
            let end = if failing.contains(&node) { End::Failed } else { End::Made };
            if end == End::Made { prop_assert!(made.insert(node)) } else { prop_assert!(dead.insert(node)) }
            for node in schedule.finish(NodeId::new(node), end) {
                prop_assert!(dead.insert(node.number()));
            }
        }
        prop_assert!(schedule.is_idle());
        prop_assert_eq!(made.len() + dead.len(), edges.len());
    }
}
