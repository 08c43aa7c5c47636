//! What the schedule knows of a derivation.

use std::{sync::Arc, time::Duration};

use crate::{graph::NodeId, ids::MachineId, plan::Class};

/// A derivation to make.
#[derive(Debug, Clone)]
pub struct Work {
    /// The derivation.
    pub node: NodeId,
    /// Those that must be made first.
    pub after: Vec<NodeId>,
    /// How long it is expected to take.
    pub expected: Duration,
    /// What it needs of a builder.
    pub class: Class,
}

/// Work that is interchangeable to the matcher: of one class, and kept from the same machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lot {
    pub(super) class: Class,
    /// Machines that had it and failed by themselves, sorted. It goes elsewhere while there is an elsewhere.
    pub(super) avoid: Arc<[MachineId]>,
}

impl Lot {
    pub(super) fn new(class: Class) -> Self {
        Self { class, avoid: Arc::default() }
    }

    /// The lot of work that has failed on `machine` too.
    pub(super) fn avoiding(&self, machine: MachineId) -> Self {
        match self.avoid.binary_search(&machine) {
            Ok(_) => self.clone(),
            Err(at) => {
                let mut avoid = self.avoid.to_vec();
                avoid.insert(at, machine);
                Self { class: self.class.clone(), avoid: avoid.into() }
            }
        }
    }
}
