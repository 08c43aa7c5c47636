//! Which work goes to which builder.

use super::{Schedule, queue::State, view::FleetView, view::SlotId};
use crate::{graph::NodeId, ids::MachineId};

/// Work that a builder should do now. It counts as running, and the slot as taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The derivation.
    pub node: NodeId,
    /// The builder.
    pub machine: MachineId,
    /// Its slot, to be vacated when the build has ended.
    pub slot: SlotId,
}

impl Schedule {
    /// The next work and the builder for it: the longest remaining path first among what some open builder has room
    /// for. `holds` tells how much of a derivation's inputs a builder has already, in any unit.
    ///
    /// Work is never given to a builder that lacks anything it needs.
    pub fn place(
        &mut self,
        fleet: &mut FleetView,
        holds: impl Fn(MachineId, NodeId) -> u64,
    ) -> Option<Placement> {
        let mut first: Vec<_> =
            self.ready.iter().filter_map(|(lot, ranks)| Some((*ranks.first()?, lot))).collect();
        first.sort_unstable_by_key(|(rank, _)| *rank);
        let (rank, lot, machine) = first.into_iter().find_map(|(rank, lot)| {
            let machine = fleet.choose(&lot.class, &lot.avoid, |machine| holds(machine, rank.1))?;
            Some((rank, lot.clone(), machine))
        })?;
        let slot = fleet.occupy(machine, lot.class.resources)?;
        self.dequeue(&lot, &rank);
        self.set(rank.1, State::Running);
        Some(Placement { node: rank.1, machine, slot })
    }

    /// Puts back work that `machine` could not do for reasons of its own. It goes elsewhere while there is an
    /// elsewhere.
    pub fn retry(&mut self, node: NodeId, machine: MachineId) {
        if self.is_running(node) {
            self.avoid(node, machine);
            self.put_back(node);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
