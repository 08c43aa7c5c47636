//! What stands in the way of a derivation: its own obstacle, or that of something it needs.

use std::collections::HashMap;

use super::{PastVerdict, Unmet};
use crate::graph::{Needed, NodeId};

/// Why a derivation is not made at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A derivation is known to fail.
    KnownFailure {
        /// Its name.
        name: String,
        /// How it failed.
        verdict: Box<PastVerdict>,
    },
    /// No builder fits.
    Unmet(Unmet),
}

/// Spreads the obstacles of single derivations to all of `needed` (inputs first) that need them.
pub fn obstacles(needed: &[Needed], own: impl Fn(NodeId) -> Option<Obstacle>) -> HashMap<NodeId, Obstacle> {
    let mut found: HashMap<NodeId, Obstacle> = HashMap::new();
    for item in needed {
        let obstacle = own(item.node).or_else(|| item.after.iter().find_map(|node| found.get(node).cloned()));
        if let Some(obstacle) = obstacle {
            found.insert(item.node, obstacle);
        }
    }
    found
}
