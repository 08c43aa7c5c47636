//! The runs: their schedules, and what has come of their builds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use croft::{
    graph::NodeId,
    ids::MachineId,
    matrix::Resources,
    nix::DrvKey,
    schedule::{Class, End, Schedule, SlotId, Stage, Work},
};

use super::scenario::{RunPlan, Truth};

/// Attempts that fail by infrastructure before a build is given up.
pub(crate) const MOST_ATTEMPTS: usize = 8;

/// What a build has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Made,
    Failed,
    Infra,
    Blocked,
    Cancelled,
}

/// How an attempt ends if nothing else happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Result {
    Verdict(Truth),
    Infra,
}

/// A build that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) run: usize,
    pub(crate) node: NodeId,
    pub(crate) machine: MachineId,
    pub(crate) slot: SlotId,
    pub(crate) ends: u64,
    pub(crate) result: Result,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: RunPlan,
    number: usize,
    pub(crate) schedule: Schedule,
    pub(crate) verdicts: BTreeMap<NodeId, Verdict>,
    /// Where each build failed by infrastructure.
    pub(crate) infra: BTreeMap<NodeId, Vec<MachineId>>,
    /// How many builds have been added; they come one by one, as evaluation finds them.
    pub(crate) added: usize,
    pub(crate) is_cancelled: bool,
}

/// What builds ask for.
pub(crate) fn classes() -> &'static [Class; 3] {
    static CLASSES: OnceLock<[Class; 3]> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let system = || "x86_64-linux".parse().expect("a system");
        let kvm = BTreeSet::from(["kvm".parse().expect("a feature")]);
        let plain = Class::new(system(), Arc::default());
        let memory = Resources { memory: Some(5000), ..Resources::default() };
        let large = Class { resources: memory, ..plain.clone() };
        [plain, Class::new(system(), Arc::new(kvm)), large]
    })
}

impl Run {
    pub(crate) fn new(plan: RunPlan, number: usize) -> Self {
        Self {
            plan,
            number,
            schedule: Schedule::default(),
            verdicts: BTreeMap::new(),
            infra: BTreeMap::new(),
            added: 0,
            is_cancelled: false,
        }
    }

    /// The key of a build; those of different runs differ.
    pub(crate) fn key(&self, node: NodeId) -> DrvKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&node.number().to_le_bytes());
        bytes[4] = u8::try_from(self.number).unwrap_or(u8::MAX);
        DrvKey::new(bytes)
    }

    pub(crate) fn is_over(&self) -> bool {
        let all = self.added == self.plan.builds.len() || self.is_cancelled;
        all && self.schedule.is_idle()
    }

    /// Adds the next builds.
    pub(crate) fn grow(&mut self, count: usize) {
        let to = (self.added + count).min(self.plan.builds.len());
        for node in self.added..to {
            self.add(u32::try_from(node).expect("a small run"));
        }
        self.added = to;
    }

    fn add(&mut self, number: u32) {
        let (node, plan) = (NodeId::new(number), &self.plan.builds[number as usize]);
        let is_lost = |input: &u32| {
            let verdict = self.verdicts.get(&NodeId::new(*input));
            verdict.is_some_and(|verdict| *verdict != Verdict::Made)
        };
        if plan.after.iter().any(is_lost) {
            self.verdicts.insert(node, Verdict::Blocked);
            return;
        }
        let work = Work {
            node,
            after: plan.after.iter().copied().map(NodeId::new).collect(),
            expected: Duration::from_millis(plan.millis),
            class: classes()[plan.class].clone(),
        };
        self.schedule.add(work);
        if let Some(Stage::Failed { .. }) = self.schedule.stage(node) {
            self.verdicts.entry(node).or_insert(Verdict::Blocked);
        }
    }

    pub(crate) fn finish(&mut self, node: NodeId, verdict: Verdict) {
        self.verdicts.insert(node, verdict);
        let end = if verdict == Verdict::Made { End::Made } else { End::Failed };
        for blocked in self.schedule.finish(node, end) {
            self.verdicts.insert(blocked, Verdict::Blocked);
        }
    }

    pub(crate) fn cancel(&mut self) {
        self.is_cancelled = true;
        for node in self.schedule.give_up() {
            self.verdicts.insert(node, Verdict::Cancelled);
        }
    }

    /// What a new process makes of the record: verdicts stand, all else is to be done.
    pub(crate) fn reload(&mut self) {
        self.schedule = Schedule::default();
        for number in 0..u32::try_from(self.added).expect("a small run") {
            if !self.verdicts.contains_key(&NodeId::new(number)) {
                self.add(number);
            }
        }
        if self.is_cancelled {
            self.cancel();
        }
    }

    /// Whether what each build came to is what it had to.
    pub(crate) fn judge(&self) -> std::result::Result<(), String> {
        for (number, plan) in self.plan.builds.iter().enumerate() {
            let node = NodeId::new(u32::try_from(number).expect("a small run"));
            let told = self.verdicts.get(&node).copied();
            if self.is_cancelled {
                continue;
            }
            let Some(told) = told else {
                return Err(format!("build {number} of run {} has no verdict", self.number));
            };
            let made = |n: &u32| self.verdicts.get(&NodeId::new(*n)) == Some(&Verdict::Made);
            let is_free = plan.after.iter().all(made);
            let right = match told {
                Verdict::Made => is_free && plan.truth == Truth::Passes,
                Verdict::Failed => is_free && plan.truth == Truth::Fails,
                Verdict::Infra => is_free && self.has_tried_hard(node),
                Verdict::Blocked => !is_free,
                Verdict::Cancelled => false,
            };
            if !right {
                return Err(format!("build {number} of run {} is told {told:?}, but {plan:?}", self.number));
            }
        }
        Ok(())
    }

    pub(crate) fn has_tried_hard(&self, node: NodeId) -> bool {
        let Some(machines) = self.infra.get(&node) else { return false };
        machines.len() >= MOST_ATTEMPTS || machines.iter().collect::<BTreeSet<_>>().len() >= 3
    }
}
