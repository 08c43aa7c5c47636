//! How long a plan will take, from recorded durations.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use crate::graph::{Needed, NodeId};

/// An estimate of the work in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The sum over all derivations whose duration is known.
    pub work: Duration,
    /// The time it takes on the given slots: the larger of work per slot and the longest path.
    pub wall: Duration,
    /// How many derivations have no recorded duration, and so are not in the sums.
    pub unknown: usize,
}

/// Estimates `needed` (inputs first) on `slots` slots.
pub fn estimate(needed: &[Needed], known: impl Fn(NodeId) -> Option<Duration>, slots: u32) -> Estimate {
    let mut path: HashMap<NodeId, Duration> = HashMap::with_capacity(needed.len());
    let mut estimate = Estimate::default();
    let mut longest = Duration::ZERO;
    for item in needed {
        let own = known(item.node);
        estimate.unknown += usize::from(own.is_none());
        let own = own.unwrap_or_default();
        estimate.work += own;
        let before = item.after.iter().filter_map(|node| path.get(node)).max().copied().unwrap_or_default();
        longest = longest.max(before + own);
        path.insert(item.node, before + own);
    }
    estimate.wall = longest.max(estimate.work / slots.max(1));
    estimate
}
