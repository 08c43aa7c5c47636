//! Which derivations must be made so that the wanted ones are: a walk from the wanted ones down that stops at
//! whatever is there already.
//!
//! The walk asks in waves: [`NeedWalk::frontier`] names the derivations whose presence must be known next,
//! [`NeedWalk::answer`] takes the answers. So the store is asked few times for many paths, and nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{DrvGraph, NodeId};

/// Where the outputs of a derivation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All are valid in the store.
    Valid,
    /// Those that are missing can be fetched.
    Substitutable,
    /// Some can only be built.
    Absent,
}

/// What must be done about a derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Fetch its outputs.
    Substitute,
    /// Build it.
    Build,
}

/// A derivation to make, and which other ones to make before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The derivation.
    pub node: NodeId,
    /// What must be done about it.
    pub need: Need,
    /// Those among its inputs that must be made first.
    pub after: Vec<NodeId>,
}

/// The walk. Remembers what it has learnt, so that later cells ask only about what is new.
#[derive(Debug, Default)]
pub struct NeedWalk {
    known: BTreeMap<NodeId, Presence>,
    asked: BTreeSet<NodeId>,
    frontier: Vec<NodeId>,
}

impl NeedWalk {
    /// Adds derivations that are wanted.
    pub fn want(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            self.ask(node);
        }
    }

    fn ask(&mut self, node: NodeId) {
        if self.asked.insert(node) {
            self.frontier.push(node);
        }
    }

    /// The derivations whose presence must be known next; empty when the walk is done.
    pub fn frontier(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.frontier)
    }

    /// Takes the answers to a frontier.
    pub fn answer(&mut self, graph: &DrvGraph, answers: impl IntoIterator<Item = (NodeId, Presence)>) {
        for (node, presence) in answers {
            self.known.insert(node, presence);
            match presence {
                Presence::Valid | Presence::Substitutable => {}
                Presence::Absent => {
                    for input in &graph.node(node).inputs {
                        self.ask(input.node);
                    }
                }
            }
        }
    }

    /// Marks a derivation as present, because it has just been made.
    pub fn made(&mut self, node: NodeId) {
        self.known.insert(node, Presence::Valid);
    }

    /// What is known of `node`.
    pub fn presence(&self, node: NodeId) -> Option<Presence> {
        self.known.get(&node).copied()
    }

    /// All that must be made so that `targets` are present, inputs first.
    pub fn needed(&self, graph: &DrvGraph, targets: impl IntoIterator<Item = NodeId>) -> Vec<Needed> {
        let mut seen = BTreeSet::new();
        let mut stack: Vec<NodeId> = targets.into_iter().collect();
        while let Some(node) = stack.pop() {
            if self.need(node).is_some() && seen.insert(node) {
                stack.extend(self.after(graph, node));
            }
        }
        // Numbers grow from inputs to dependents, so this order is a legal order of work.
        seen.into_iter()
            .filter_map(|node| Some(Needed { node, need: self.need(node)?, after: self.after(graph, node) }))
            .collect()
    }

    fn need(&self, node: NodeId) -> Option<Need> {
        match self.known.get(&node)? {
            Presence::Valid => None,
            Presence::Substitutable => Some(Need::Substitute),
            Presence::Absent => Some(Need::Build),
        }
    }

    fn after(&self, graph: &DrvGraph, node: NodeId) -> Vec<NodeId> {
        match self.need(node) {
            Some(Need::Build) => {
                graph.node(node).inputs.iter().map(|i| i.node).filter(|n| self.need(*n).is_some()).collect()
            }
            Some(Need::Substitute) | None => Vec::new(),
        }
    }
}
