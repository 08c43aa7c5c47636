//! The ready set and what becomes ready after it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::work::{Lot, Work};
use crate::{
    graph::NodeId,
    ids::MachineId,
    plan::{Class, Offer},
};

/// How a derivation that was taken came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its outputs are valid.
    Made,
    /// They will not be; whatever needs it is blocked.
    Failed,
}

/// How much of the work is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Waiting for inputs.
    pub waiting: usize,
    /// Waiting for a builder.
    pub ready: usize,
    /// Taken.
    pub running: usize,
    /// Made.
    pub made: usize,
    /// Failed or blocked.
    pub failed: usize,
}

/// Where a derivation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for an input.
    Waiting,
    /// It waits for a builder.
    Ready,
    /// A builder has it.
    Running,
    /// It is made.
    Made,
    /// It failed by itself, or something it needs did.
    Failed {
        /// What failed.
        by: NodeId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting {
        open: usize,
    },
    Ready,
    Running,
    Made,
    /// It failed by itself, or something it needs did.
    Failed {
        by: NodeId,
    },
}

#[derive(Debug)]
struct Item {
    state: State,
    expected: Duration,
    /// The longest path from here to an end of the graph, this item included.
    remaining: Duration,
    lot: Lot,
    after: Vec<NodeId>,
    before: Vec<NodeId>,
}

/// Longest remaining path first, then the order of arrival.
pub(super) type Rank = (Reverse<Duration>, NodeId);

/// The work of all runs, by what can be done now.
#[derive(Debug, Default)]
pub struct Schedule {
    items: HashMap<NodeId, Item>,
    pub(super) ready: BTreeMap<Lot, BTreeSet<Rank>>,
    progress: Progress,
}

impl Schedule {
    /// Adds work whose inputs were added before or need nothing done. Work that is known already is left alone.
    ///
    /// Returns whether the work can never be done, because something it needs has failed.
    pub fn add(&mut self, work: Work) -> Added {
        if let Some(item) = self.items.get(&work.node) {
            return if matches!(item.state, State::Failed { .. }) { Added::Blocked } else { Added::Queued };
        }
        let open = work.after.iter().filter(|n| self.is_open(**n)).count();
        let state = match (work.after.iter().find_map(|n| self.failed_by(*n)), open) {
            (Some(by), _) => State::Failed { by },
            (None, 0) => State::Ready,
            (None, open) => State::Waiting { open },
        };
        for input in &work.after {
            if let Some(item) = self.items.get_mut(input) {
                item.before.push(work.node);
            }
        }
        let item = Item {
            state,
            expected: work.expected,
            remaining: work.expected,
            lot: Lot::new(work.class),
            after: work.after,
            before: Vec::new(),
        };
        let (after, remaining) = (item.after.clone(), item.remaining);
        self.items.insert(work.node, item);
        *self.count(state) += 1;
        match state {
            State::Failed { .. } => return Added::Blocked,
            State::Ready => self.enqueue(work.node),
            State::Waiting { .. } | State::Running | State::Made => {}
        }
        self.raise(&after, remaining);
        Added::Queued
    }

    /// Takes the work that a builder with this offer should do next. It counts as running until it is finished or
    /// put back.
    pub fn take(&mut self, offer: &Offer) -> Option<NodeId> {
        let fitting = self.ready.iter().filter(|(lot, _)| lot.class.fits(offer));
        let (lot, rank) =
            fitting.filter_map(|(lot, ranks)| Some((lot, *ranks.first()?))).min_by_key(|(_, rank)| *rank)?;
        let lot = lot.clone();
        self.dequeue(&lot, &rank);
        self.set(rank.1, State::Running);
        Some(rank.1)
    }

    /// Puts back work that was taken but not done.
    pub fn put_back(&mut self, node: NodeId) {
        if self.state(node) == Some(State::Running) {
            self.set(node, State::Ready);
            self.enqueue(node);
        }
    }

    /// Tells how work that was taken ended. Returns what can now never be done.
    pub fn finish(&mut self, node: NodeId, end: End) -> Vec<NodeId> {
        if self.state(node) != Some(State::Running) {
            return Vec::new();
        }
        match end {
            End::Made => {
                self.set(node, State::Made);
                self.unlock(node);
                Vec::new()
            }
            End::Failed => {
                self.set(node, State::Failed { by: node });
                self.block(node)
            }
        }
    }

    /// Gives up all work that nobody has taken. Returns it.
    pub fn give_up(&mut self) -> Vec<NodeId> {
        self.ready.clear();
        let waiting = |item: &Item| matches!(item.state, State::Waiting { .. } | State::Ready);
        let mut given: Vec<_> = self.items.iter().filter(|(_, i)| waiting(i)).map(|(n, _)| *n).collect();
        given.sort_unstable();
        for node in &given {
            self.set(*node, State::Failed { by: *node });
        }
        given
    }

    /// If `node` can never be done: what failed, which may be `node` itself.
    pub fn failed_by(&self, node: NodeId) -> Option<NodeId> {
        match self.state(node)? {
            State::Failed { by } => Some(by),
            State::Waiting { .. } | State::Ready | State::Running | State::Made => None,
        }
    }

    /// How much of the work is where.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Where a derivation stands; none if it is not known.
    pub fn stage(&self, node: NodeId) -> Option<Stage> {
        Some(match self.state(node)? {
            State::Waiting { .. } => Stage::Waiting,
            State::Ready => Stage::Ready,
            State::Running => Stage::Running,
            State::Made => Stage::Made,
            State::Failed { by } => Stage::Failed { by },
        })
    }

    /// The first input that a waiting derivation waits for.
    pub fn waits_for(&self, node: NodeId) -> Option<NodeId> {
        self.items.get(&node)?.after.iter().copied().find(|input| self.is_open(*input))
    }

    /// The ready derivations in the order in which they go out, each with its class and its remaining path.
    pub fn in_order(&self) -> Vec<(NodeId, &Class, Duration)> {
        let mut all: Vec<(Rank, &Class)> = self
            .ready
            .iter()
            .flat_map(|(lot, ranks)| ranks.iter().map(move |rank| (*rank, &lot.class)))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|((remaining, node), class)| (node, class, remaining.0)).collect()
    }

    pub(super) fn is_running(&self, node: NodeId) -> bool {
        self.state(node) == Some(State::Running)
    }

    /// Keeps running work from `machine` from now on.
    pub(super) fn avoid(&mut self, node: NodeId, machine: MachineId) {
        if let Some(item) = self.items.get_mut(&node) {
            item.lot = item.lot.avoiding(machine);
        }
    }

    /// Whether nothing is waiting, ready or running.
    pub fn is_idle(&self) -> bool {
        self.progress.waiting + self.progress.ready + self.progress.running == 0
    }

    fn state(&self, node: NodeId) -> Option<State> {
        self.items.get(&node).map(|item| item.state)
    }

    fn is_open(&self, node: NodeId) -> bool {
        matches!(self.state(node), Some(State::Waiting { .. } | State::Ready | State::Running))
    }

    fn count(&mut self, state: State) -> &mut usize {
        match state {
            State::Waiting { .. } => &mut self.progress.waiting,
            State::Ready => &mut self.progress.ready,
            State::Running => &mut self.progress.running,
            State::Made => &mut self.progress.made,
            State::Failed { .. } => &mut self.progress.failed,
        }
    }

    pub(super) fn set(&mut self, node: NodeId, state: State) {
        let Some(item) = self.items.get_mut(&node) else { return };
        let before = std::mem::replace(&mut item.state, state);
        *self.count(before) -= 1;
        *self.count(state) += 1;
    }

    fn enqueue(&mut self, node: NodeId) {
        if let Some(item) = self.items.get(&node) {
            let rank = (Reverse(item.remaining), node);
            self.ready.entry(item.lot.clone()).or_default().insert(rank);
        }
    }

    pub(super) fn dequeue(&mut self, lot: &Lot, rank: &Rank) {
        if let Some(ranks) = self.ready.get_mut(lot) {
            ranks.remove(rank);
            if ranks.is_empty() {
                self.ready.remove(lot);
            }
        }
    }

    /// One input of each of `node`'s dependents is there.
    fn unlock(&mut self, node: NodeId) {
        let before = self.items.get(&node).map(|item| item.before.clone()).unwrap_or_default();
        for dependent in before {
            match self.state(dependent) {
                Some(State::Waiting { open: 1 }) => {
                    self.set(dependent, State::Ready);
                    self.enqueue(dependent);
                }
                Some(State::Waiting { open }) => self.set(dependent, State::Waiting { open: open - 1 }),
                Some(State::Ready | State::Running | State::Made | State::Failed { .. }) | None => {}
            }
        }
    }

    /// Whatever needs `node`, directly or not, can never be done.
    fn block(&mut self, by: NodeId) -> Vec<NodeId> {
        let mut blocked = Vec::new();
        let mut open = vec![by];
        while let Some(node) = open.pop() {
            let before = self.items.get(&node).map(|item| item.before.clone()).unwrap_or_default();
            for dependent in before {
                if matches!(self.state(dependent), Some(State::Waiting { .. })) {
                    self.set(dependent, State::Failed { by });
                    blocked.push(dependent);
                    open.push(dependent);
                }
            }
        }
        blocked
    }

    /// The paths through `inputs` are at least `beyond` longer than the inputs themselves.
    fn raise(&mut self, inputs: &[NodeId], beyond: Duration) {
        let mut open: Vec<(NodeId, Duration)> = inputs.iter().map(|n| (*n, beyond)).collect();
        while let Some((node, beyond)) = open.pop() {
            let Some(item) = self.items.get_mut(&node) else { continue };
            let remaining = item.expected + beyond;
            if remaining <= item.remaining {
                continue;
            }
            let (lot, old) = (item.lot.clone(), (Reverse(item.remaining), node));
            item.remaining = remaining;
            open.extend(item.after.iter().map(|n| (*n, remaining)));
            if item.state == State::Ready {
                self.dequeue(&lot, &old);
                self.enqueue(node);
            }
        }
    }
}

/// What became of work that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It will be done.
    Queued,
    /// Something it needs has failed.
    Blocked,
}

#[cfg(test)]
mod tests;
