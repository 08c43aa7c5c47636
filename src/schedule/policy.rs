//! Which machines there should be: from all that is known, what to do now.
//!
//! The policy is asked again and again and remembers nothing; what it has asked for is seen in the next state. It
//! never ends a machine that builds: one that is wanted gone takes no new work, and whoever carries the actions out
//! ends it once nothing runs there, see [`may_end`].

mod grow;
mod lives;
mod newcomer;
mod pool;

pub use newcomer::with_newcomers_awaited;
pub(super) use pool::PoolPlan;
pub use pool::{Blocker, offer};

use std::fmt;

use super::{demand::Demand, state::FleetState, state::MachineState};
use crate::{
    clock::Timestamp,
    config::{FleetSettings, PoolName, PoolSettings},
    ids::MachineId,
    lifecycle::{EndReason, Seen, Shape, Wanted},
    plan::Class,
};

/// Something to do about the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetAction {
    /// Record the intent, then order a machine.
    Launch {
        /// The pool.
        pool: PoolName,
        /// How it is to be had.
        shape: Shape,
        /// What for.
        reason: LaunchReason,
    },
    /// Want a sleeping machine up.
    Wake {
        /// The machine.
        machine: MachineId,
    },
    /// Want a machine stopped and kept.
    Sleep {
        /// The machine.
        machine: MachineId,
    },
    /// Want a machine gone.
    End {
        /// The machine.
        machine: MachineId,
        /// Why.
        reason: EndReason,
    },
    /// Give a builder that is always there no work for a while.
    Quarantine {
        /// The builder.
        machine: MachineId,
        /// Until when.
        until: Timestamp,
        /// What happened.
        why: String,
    },
    /// Give a builder work again: see [`super::Faults::released`].
    Release {
        /// The builder.
        machine: MachineId,
    },
}

/// What a machine is launched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchReason {
    /// The pool has fewer than it should always have.
    Minimum,
    /// Builds of this class wait.
    Demand {
        /// The class.
        class: Class,
        /// How many.
        builds: u64,
    },
    /// Another one is too old or has built enough, and is needed: see [`MachineState::replaces`].
    Replacement {
        /// The other one.
        of: MachineId,
    },
}

impl LaunchReason {
    /// The machine that the new one replaces.
    pub fn replaces(&self) -> Option<MachineId> {
        match self {
            Self::Replacement { of } => Some(*of),
            Self::Minimum | Self::Demand { .. } => None,
        }
    }
}

impl fmt::Display for LaunchReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minimum => f.write_str("the pool always has some"),
            Self::Demand { class, builds: 1 } => write!(f, "a build for {class} waits"),
            Self::Demand { class, builds } => write!(f, "{builds} builds for {class} wait"),
            Self::Replacement { of } => write!(f, "replaces {of}"),
        }
    }
}

/// What is decided, and what has been decided so far.
pub(super) struct Round<'a> {
    state: &'a FleetState,
    demand: &'a Demand,
    fleet: &'a FleetSettings,
    now: Timestamp,
    pools: Vec<PoolPlan<'a>>,
    actions: Vec<FleetAction>,
}

/// What to do now.
pub fn decide(
    state: &FleetState,
    demand: &Demand,
    pools: &[PoolSettings],
    fleet: &FleetSettings,
    now: Timestamp,
) -> Vec<FleetAction> {
    let pools: Vec<PoolPlan<'_>> = pools.iter().map(|pool| PoolPlan::new(pool, state)).collect();
    let mut round = Round { state, demand, fleet, now, pools, actions: Vec::new() };
    round.machines();
    round.grow();
    round.recycle();
    round.shrink();
    round.actions
}

/// Until when the machines of a pool take no work because its budget is used up; none if it is not. See
/// [`MachineState::standing`].
pub fn budget_until(pool: &PoolSettings, state: &FleetState, now: Timestamp) -> Option<Timestamp> {
    let over = PoolPlan::new(pool, state).exhausted()?;
    Some(over.eases.unwrap_or(now))
}

/// Ends all machines of pools: for a process that ends with its last run, so that nobody would look after them.
pub fn wind_down(state: &FleetState) -> Vec<FleetAction> {
    let ends = state.machines.iter().filter(|machine| machine.pool.is_some() && is_wanted(machine));
    ends.map(|machine| FleetAction::End { machine: machine.id, reason: EndReason::RunOver }).collect()
}

/// Whether a machine that is wanted gone or asleep may be stopped now: nothing runs there, or what runs there is lost
/// with it anyway.
pub fn may_end(machine: &MachineState) -> bool {
    match (machine.wanted, machine.seen) {
        (Wanted::Up, _) | (_, Seen::Gone) | (Wanted::Dormant, Seen::Dormant) => false,
        (Wanted::Gone, Seen::Unreachable) => true,
        (
            Wanted::Gone | Wanted::Dormant,
            Seen::Requested | Seen::Booting | Seen::Ready | Seen::Unreachable | Seen::Dormant,
        ) => machine.running == 0,
    }
}

fn is_wanted(machine: &MachineState) -> bool {
    match (machine.wanted, machine.seen) {
        (Wanted::Gone, _) | (_, Seen::Gone) => false,
        (
            Wanted::Up | Wanted::Dormant,
            Seen::Requested | Seen::Booting | Seen::Ready | Seen::Unreachable | Seen::Dormant,
        ) => true,
    }
}

#[cfg(test)]
pub(super) mod tests;
