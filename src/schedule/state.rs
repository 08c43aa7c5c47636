//! The machines as the policy sees them: a value that is read whole before each decision.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    cost::{Money, Spent},
    memory::LaunchMemory,
    standing::{Closed, Standing},
    view::Probation,
};
use crate::{
    clock::Timestamp,
    config::{FleetSettings, PoolName},
    ids::MachineId,
    lifecycle::{Hold, Phase, Seen, Shape, Wanted},
};

/// A machine that is not gone, or a builder that is always there.
#[derive(Debug, Clone)]
pub struct MachineState {
    /// The machine.
    pub id: MachineId,
    /// Its pool; none for a builder that is always there, which the policy neither launches nor ends.
    pub pool: Option<PoolName>,
    /// How it was had; none for a builder that is always there.
    pub shape: Option<Shape>,
    /// The machine whose place it takes, if it was launched for that.
    pub replaces: Option<MachineId>,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Since when.
    pub wanted_since: Timestamp,
    /// What is seen of it.
    pub seen: Seen,
    /// Since when.
    pub seen_since: Timestamp,
    /// When the intent to launch it was recorded.
    pub requested: Timestamp,
    /// When it first joined; none if it has not.
    pub joined: Option<Timestamp>,
    /// Since when it has had nothing to do; none while it builds or has not joined.
    pub idle_since: Option<Timestamp>,
    /// Builds that run on it.
    pub running: u32,
    /// Builds it has made.
    pub builds: u32,
    /// Infrastructure failures in a row, those of poisonous derivations left out.
    pub infra_in_a_row: u32,
    /// Why it is held back, if it is.
    pub hold: Option<Hold>,
    /// What is wrong with it, if something is and has been since then: see [`super::health`].
    pub unfit: Option<Unfit>,
    /// Whether its provider takes it back soon.
    pub interrupted: bool,
    /// Its price for one hour.
    pub price: Money,
}

/// What is wrong with a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// In words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

impl MachineState {
    /// The machine in one word.
    pub fn phase(&self) -> Phase {
        Phase::of(self.wanted, self.seen, self.running as usize)
    }

    /// Whether it is wanted, and has not joined yet or again.
    pub fn is_on_its_way(&self) -> bool {
        match (self.wanted, self.seen) {
            (Wanted::Up, Seen::Requested | Seen::Booting | Seen::Dormant) => true,
            (Wanted::Up, Seen::Ready | Seen::Unreachable | Seen::Gone)
            | (Wanted::Dormant | Wanted::Gone, _) => false,
        }
    }

    /// Since when it is on its way, at most.
    pub fn on_its_way_since(&self) -> Timestamp {
        match (self.joined, self.seen) {
            (Some(_), Seen::Booting) => self.wanted_since.max(self.seen_since),
            (None, Seen::Booting)
            | (_, Seen::Requested | Seen::Ready | Seen::Unreachable | Seen::Dormant | Seen::Gone) => {
                self.wanted_since
            }
        }
    }

    /// Whether it costs something, or will before it is told otherwise: all but the sleeping ones that may sleep.
    pub fn is_paid(&self) -> bool {
        match (self.wanted, self.seen) {
            (_, Seen::Gone) | (Wanted::Dormant | Wanted::Gone, Seen::Dormant) => false,
            (Wanted::Up, Seen::Dormant)
            | (_, Seen::Requested | Seen::Booting | Seen::Ready | Seen::Unreachable) => true,
        }
    }

    /// Whether it takes work, and if not, why not. `budget` is until when its pool's budget is used up, see
    /// [`super::budget_until`].
    pub fn standing(&self, fleet: &FleetSettings, budget: Option<Timestamp>) -> Standing {
        let closed = match (self.wanted, self.seen) {
            (_, Seen::Gone) | (Wanted::Gone | Wanted::Dormant, _) => Some(Closed::Leaving(None)),
            (Wanted::Up, Seen::Requested | Seen::Booting | Seen::Dormant) => Some(Closed::Joining),
            (Wanted::Up, Seen::Unreachable) => Some(Closed::Unreachable),
            (Wanted::Up, Seen::Ready) if self.interrupted => Some(Closed::Interrupted),
            (Wanted::Up, Seen::Ready) => match (&self.hold, &self.unfit) {
                (Some(Hold::Drain), _) => Some(Closed::Operator),
                (Some(Hold::Quarantine { until, why }), _) => {
                    Some(Closed::Quarantine { until: *until, why: why.clone() })
                }
                (None, Some(unfit)) => Some(Closed::Unfit(unfit.why.clone())),
                // The policy ends it or puts it in quarantine with its next decision; until then it gets no more.
                (None, None) if self.infra_in_a_row >= fleet.quarantine_after => {
                    Some(Closed::Failing { times: self.infra_in_a_row })
                }
                (None, None) => budget.map(|until| Closed::Budget { until }),
            },
        };
        closed.map_or(Standing::Open, Standing::Closed)
    }
}

/// All that the policy looks at, beside the demand and the settings.
#[derive(Debug, Clone, Default)]
pub struct FleetState {
    /// All machines that are not gone, and the builders that are always there.
    pub machines: Vec<MachineState>,
    /// What launches have come to lately.
    pub memory: LaunchMemory,
    /// What each pool has cost lately, its running machines included.
    pub spent: BTreeMap<PoolName, Spent>,
    /// Whether most of what was tried lately failed for reasons of the machines: see [`super::Faults`].
    pub probation: Option<Probation>,
    /// Pools that can keep machines stopped.
    pub dormancy: BTreeSet<PoolName>,
}

/// How long a machine that does not answer is waited for.
pub(super) fn waited(since: Timestamp, now: Timestamp, most: Duration) -> bool {
    now.since(since) >= most
}
