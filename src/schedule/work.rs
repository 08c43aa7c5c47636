//! What the schedule knows of a derivation.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    graph::NodeId,
    nix::{System, SystemFeature},
    plan::Offer,
};

/// What a derivation needs of a builder. Work of one class is interchangeable to the matcher.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The system it is built on.
    pub system: System,
    /// Features its builder must have.
    pub features: Arc<BTreeSet<SystemFeature>>,
}

impl Class {
    /// Whether a builder with this offer can do the work.
    pub fn fits(&self, offer: &Offer) -> bool {
        (self.system.as_str() == "builtin" || offer.systems.contains(&self.system))
            && self.features.is_subset(&offer.features)
    }
}

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
