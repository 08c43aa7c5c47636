//! Why work waits, in words a user can read, and until when.

use std::fmt;

use super::{
    Schedule, Stage,
    policy::{Blocker, PoolPlan, offer},
    standing::Closed,
    state::FleetState,
    view::FleetView,
};
use crate::{
    clock::Timestamp,
    config::{FleetSettings, PoolName, PoolSettings},
    graph::NodeId,
    ids::MachineId,
    plan::{Class, Offer, Unmet, unmet},
};

/// Why a build waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// One of its inputs is not made yet.
    Input(NodeId),
    /// A builder has a free slot for it: it goes out at once.
    Next,
    /// All builders that fit are busy.
    Slot {
        /// How many there are.
        builders: usize,
    },
    /// A machine is on its way.
    Booting {
        /// The machine that has been on its way for longest.
        machine: MachineId,
        /// Since when.
        since: Timestamp,
        /// How many there are.
        machines: usize,
    },
    /// A machine is about to be launched.
    Launching(PoolName),
    /// A pool would do, and gets no further machine now.
    Pool {
        /// The pool; the first of them, if there are several.
        pool: PoolName,
        /// What is in the way.
        why: Blocker,
    },
    /// Builders fit, and take no work.
    Closed {
        /// One of them.
        machine: MachineId,
        /// Why it takes none.
        why: Closed,
        /// How many there are.
        builders: usize,
    },
    /// Most builds of late failed by infrastructure, and machines are tried one after the other.
    Breaker,
    /// The builders that are there fit, but not beside what runs on them.
    Room,
    /// Nothing fits, and nothing ever will.
    Unmet(Unmet),
}

impl WaitReason {
    /// The machine that it names.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::Booting { machine, .. } | Self::Closed { machine, .. } => Some(*machine),
            Self::Input(_)
            | Self::Next
            | Self::Slot { .. }
            | Self::Launching(_)
            | Self::Pool { .. }
            | Self::Breaker
            | Self::Room
            | Self::Unmet(_) => None,
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(_) => f.write_str("waits for an input"),
            Self::Next => f.write_str("is about to start"),
            Self::Slot { builders: 1 } => f.write_str("waits for a slot: the builder that fits is busy"),
            Self::Slot { builders } => {
                write!(f, "waits for a slot: all {builders} builders that fit are busy")
            }
            Self::Booting { machine, since, machines: 1 } => {
                write!(f, "waits for machine {machine}, on its way since {since}")
            }
            Self::Booting { machine, since, machines } => write!(
                f,
                "waits for {machines} machines, the first of them ({machine}) on its way since {since}"
            ),
            Self::Launching(pool) => write!(f, "a machine of pool {pool} is about to be launched"),
            Self::Pool { pool, why } => write!(f, "pool {pool} gets no machine: {why}"),
            Self::Closed { machine, why, builders: 1 } => {
                write!(f, "the only builder that fits ({machine}) {why}")
            }
            Self::Closed { machine, why, builders } => {
                write!(f, "none of {builders} builders that fit takes work; {machine} {why}")
            }
            Self::Breaker => f.write_str(
                "most builds of the last 10 minutes failed by infrastructure; machines are tried one after the other",
            ),
            Self::Room => f.write_str("waits until a builder has enough memory, cores or disk free"),
            Self::Unmet(unmet) => write!(f, "can never start: {unmet}"),
        }
    }
}

/// Why a class of work waits, and for how long if that can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Why.
    pub reason: WaitReason,
    /// When it is over, at the latest or by estimate.
    pub until: Option<Timestamp>,
}

/// All that decides why work waits: what the policy sees, and the builders.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The builders.
    pub view: &'a FleetView,
    /// The machines.
    pub state: &'a FleetState,
    /// The pools.
    pub pools: &'a [PoolSettings],
    /// What holds for all machines.
    pub fleet: &'a FleetSettings,
    /// The present.
    pub now: Timestamp,
}

impl Situation<'_> {
    /// Why work of `class` waits. `free_at` estimates when a busy builder has its next free slot; `drv` names the
    /// work if nothing will ever fit it.
    pub fn outlook(
        &self,
        class: &Class,
        drv: &str,
        free_at: impl Fn(MachineId) -> Option<Timestamp>,
    ) -> Outlook {
        let pools: Vec<PoolPlan<'_>> =
            self.pools.iter().map(|pool| PoolPlan::new(pool, self.state)).collect();
        let fitting: Vec<&PoolPlan<'_>> = pools.iter().filter(|pool| class.fits(&pool.offer)).collect();
        let open: Vec<MachineId> = self.view.open_for(class).map(|builder| builder.id).collect();
        if self.view.free_for(class).any(|id| self.view.room(id, class) > 0) {
            return Outlook { reason: WaitReason::Next, until: None };
        }
        let slot = open.iter().filter_map(|id| free_at(*id)).min();
        if let Some(coming) = self.coming(&fitting) {
            let until = [coming.until, slot].into_iter().flatten().min();
            return Outlook { reason: coming.reason, until };
        }
        let mut first = None;
        for pool in &fitting {
            match pool.next(self.state, self.fleet.launches_per_minute, 0, self.now) {
                Ok(_) => {
                    let reason = WaitReason::Launching(pool.settings.name.clone());
                    let until = Some(self.now.plus(pool.settings.boot_deadline.get()));
                    return Outlook { reason, until };
                }
                Err(why) => first = first.or_else(|| Some((pool.settings.name.clone(), why))),
            }
        }
        let full = matches!(first, None | Some((_, Blocker::Full { .. })));
        match first {
            Some((pool, why)) if !full || open.is_empty() => {
                let until = [why.until(), slot].into_iter().flatten().min();
                Outlook { reason: WaitReason::Pool { pool, why }, until }
            }
            Some(_) | None => self.among_builders(class, drv, &open, slot),
        }
    }

    /// What the builders that are there let expect, when no pool adds one.
    fn among_builders(
        &self,
        class: &Class,
        drv: &str,
        open: &[MachineId],
        slot: Option<Timestamp>,
    ) -> Outlook {
        let has_slot = |id: &&MachineId| {
            self.view.builder(**id).is_some_and(|builder| self.view.running(**id) < builder.slots)
        };
        let with_slot = open.iter().filter(has_slot).count();
        let reason = match (open.len(), with_slot) {
            (1.., 1..) if self.state.probation.is_some() => WaitReason::Breaker,
            (1.., 1..) => WaitReason::Room,
            (builders, 0) if builders > 0 => WaitReason::Slot { builders },
            _ => return self.closed(class, drv),
        };
        Outlook { reason, until: slot }
    }

    /// No builder that fits takes work.
    fn closed(&self, class: &Class, drv: &str) -> Outlook {
        let closed: Vec<(MachineId, &Closed)> = self.view.closed_for(class).collect();
        let Some((machine, why)) = closed.first() else {
            let of_pools = self.pools.iter().map(offer);
            let offers: Vec<Offer> =
                self.view.builders().map(|builder| builder.offer.as_ref().clone()).chain(of_pools).collect();
            let reason = unmet(&offers, class, drv).map_or(WaitReason::Room, WaitReason::Unmet);
            return Outlook { reason, until: None };
        };
        let until = match why {
            Closed::Quarantine { until, .. } => *until,
            Closed::Budget { until } => Some(*until),
            Closed::Joining
            | Closed::Unreachable
            | Closed::Leaving(_)
            | Closed::Interrupted
            | Closed::Failing { .. }
            | Closed::Operator
            | Closed::Unfit(_) => None,
        };
        let why = (*why).clone();
        Outlook { reason: WaitReason::Closed { machine: *machine, why, builders: closed.len() }, until }
    }

    fn coming(&self, pools: &[&PoolPlan<'_>]) -> Option<Outlook> {
        let mut on_way: Vec<(Timestamp, MachineId, Timestamp)> = Vec::new();
        for pool in pools {
            let of_pool = |machine: &&super::MachineState| {
                machine.pool.as_ref() == Some(&pool.settings.name) && machine.is_on_its_way()
            };
            on_way.extend(self.state.machines.iter().filter(of_pool).map(|machine| {
                let since = machine.on_its_way_since();
                (since, machine.id, since.plus(pool.settings.boot_deadline.get()))
            }));
        }
        let (since, machine, until) = *on_way.iter().min()?;
        let reason = WaitReason::Booting { machine, since, machines: on_way.len() };
        Some(Outlook { reason, until: Some(until) })
    }
}

impl Schedule {
    /// Why a build waits for its turn or its inputs, given the outlook of its class; none if it does not wait.
    pub fn wait_reason(&self, node: NodeId, of_class: &Outlook) -> Option<Outlook> {
        match self.stage(node)? {
            Stage::Waiting => {
                let reason = WaitReason::Input(self.waits_for(node)?);
                Some(Outlook { reason, until: None })
            }
            Stage::Ready => Some(of_class.clone()),
            Stage::Running | Stage::Made | Stage::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
