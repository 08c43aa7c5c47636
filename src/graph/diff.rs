//! Why a key changed: the derivations at the root of a difference between two graphs of the same cell.

use std::collections::{BTreeMap, HashSet};

use super::node::{DrvGraph, NodeId};

/// A derivation that differs for a reason of its own, not because of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// The name it had, if it was there.
    pub before: Option<String>,
    /// The name it has, if it is there.
    pub after: Option<String>,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before == after => write!(f, "{after}"),
            (Some(before), Some(after)) => write!(f, "{before} -> {after}"),
            (None, Some(after)) => write!(f, "new input {after}"),
            (Some(before), None) => write!(f, "{before} is gone"),
            (None, None) => Ok(()),
        }
    }
}

/// The causes of the difference between `before` and `after`, both in `graph`; at most `limit` of them.
///
/// Inputs are paired by name without version, so `postgresql-17.2` and `postgresql-17.3` are the same input. A pair
/// whose keys differ is descended into; one whose inputs are all the same differs by itself, and is a cause.
pub fn causes(graph: &DrvGraph, before: NodeId, after: NodeId, limit: usize) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(before, after)];
    while let Some((before, after)) = open.pop() {
        if causes.len() >= limit || !seen.insert((before, after)) {
            continue;
        }
        let deeper = changed_inputs(graph, before, after);
        if deeper.pairs.is_empty() && deeper.lone.is_empty() {
            let name = |id| Some(graph.node(id).name().to_owned());
            causes.push(Cause { before: name(before), after: name(after) });
        }
        open.extend(deeper.pairs);
        causes.extend(deeper.lone);
    }
    causes.sort();
    causes.dedup();
    causes.truncate(limit);
    causes
}

struct Changed {
    pairs: Vec<(NodeId, NodeId)>,
    lone: Vec<Cause>,
}

fn changed_inputs(graph: &DrvGraph, before: NodeId, after: NodeId) -> Changed {
    let mut old = inputs_by_stem(graph, before);
    let mut changed = Changed { pairs: Vec::new(), lone: Vec::new() };
    for (stem, mut new) in inputs_by_stem(graph, after) {
        let mut gone = old.remove(&stem).unwrap_or_default();
        let same = |a: &NodeId, b: &NodeId| graph.node(*a).key == graph.node(*b).key;
        let kept: Vec<NodeId> = new.iter().copied().filter(|n| gone.iter().any(|o| same(o, n))).collect();
        new.retain(|n| !kept.iter().any(|k| same(k, n)));
        gone.retain(|o| !kept.iter().any(|k| same(k, o)));
        let pairs = new.len().min(gone.len());
        changed.pairs.extend(gone.drain(..pairs).zip(new.drain(..pairs)));
        let name = |id: NodeId| Some(graph.node(id).name().to_owned());
        changed.lone.extend(new.into_iter().map(|id| Cause { before: None, after: name(id) }));
        changed.lone.extend(gone.into_iter().map(|id| Cause { before: name(id), after: None }));
    }
    for id in old.into_values().flatten() {
        changed.lone.push(Cause { before: Some(graph.node(id).name().to_owned()), after: None });
    }
    changed
}

fn inputs_by_stem(graph: &DrvGraph, node: NodeId) -> BTreeMap<String, Vec<NodeId>> {
    let mut by_stem: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for input in &graph.node(node).inputs {
        by_stem.entry(stem(graph.node(input.node).name())).or_default().push(input.node);
    }
    by_stem
}

/// A derivation name without its version: the parts before the first one that starts with a digit.
fn stem(name: &str) -> String {
    let parts = name.split(['-', '_']).take_while(|part| !part.starts_with(|c: char| c.is_ascii_digit()));
    parts.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stem_drops_the_version() {
        assert_eq!(super::stem("postgresql-17.2"), "postgresql");
        assert_eq!(super::stem("root-postgresql-17"), "root-postgresql");
        assert_eq!(super::stem("libpq5_17.2-1_amd64.deb"), "libpq5");
    }
}
