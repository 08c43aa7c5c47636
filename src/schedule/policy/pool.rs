//! One pool while a decision is made: what it has, and whether it can have more.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::is_wanted;
use crate::{
    clock::Timestamp,
    config::PoolSettings,
    ids::MachineId,
    lifecycle::{Market, Seen, Shape, Wanted},
    matrix::Resources,
    plan::{Class, Offer},
    schedule::{
        cost::{Budget, Money, OverBudget, Spent},
        memory::{PauseReason, Unavailable},
        state::{FleetState, MachineState},
    },
};

/// Why a pool gets no further machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// It has as many as it may, those on their way in or out included.
    Full {
        /// The most.
        max: u32,
    },
    /// As many machines were launched in the last minute as may be.
    Rate {
        /// The most.
        per_minute: u32,
    },
    /// Its orders are refused.
    Paused {
        /// When it is tried again.
        until: Timestamp,
        /// Why.
        why: PauseReason,
    },
    /// One more would cost more than the budget has.
    Budget(OverBudget),
    /// None of its shapes is to be had; this one is tried first again.
    Unavailable {
        /// The shape.
        shape: Shape,
        /// Why.
        why: Unavailable,
    },
    /// After failures one machine is tried at a time, and one is on its way.
    Trial,
    /// Most of what was tried lately failed by infrastructure, and other machines must prove themselves first.
    Breaker,
}

impl Blocker {
    /// When it is over, if that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Paused { until, .. } => Some(*until),
            Self::Unavailable { why, .. } => Some(why.until()),
            Self::Budget(over) => over.eases,
            Self::Full { .. } | Self::Rate { .. } | Self::Trial | Self::Breaker => None,
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { max } => write!(f, "it has its most machines ({max})"),
            Self::Rate { per_minute } => {
                write!(f, "{per_minute} machines were launched in the last minute, the most that may be")
            }
            Self::Paused { until, why } => write!(f, "{why}; it is tried again at {until}"),
            Self::Budget(over) => {
                write!(f, "{over}, and one more machine would go beyond it")?;
                over.eases.map_or(Ok(()), |at| write!(f, "; some of it is free again at {at}"))
            }
            Self::Unavailable { shape, why: Unavailable::NoCapacity { until } } => {
                write!(f, "its provider has no capacity; {shape} is tried again at {until}")
            }
            Self::Unavailable { shape, why: Unavailable::DoesNotBoot { until, times } } => {
                write!(f, "{times} machines in a row did not join as {shape}; it is tried again at {until}")
            }
            Self::Trial => f.write_str("after failures one machine is tried at a time"),
            Self::Breaker => f.write_str(
                "most builds of the last 10 minutes failed by infrastructure, so no machines are added",
            ),
        }
    }
}

/// A pool while a decision is made.
pub(in crate::schedule) struct PoolPlan<'a> {
    pub(in crate::schedule) settings: &'a PoolSettings,
    pub(in crate::schedule) offer: Arc<Offer>,
    pub(super) machines: Vec<&'a MachineState>,
    /// Those that this decision ends or puts to sleep.
    pub(super) leaving: BTreeSet<MachineId>,
    /// Those that it puts to sleep.
    pub(super) sleeping: u32,
    /// Those that it wakes.
    pub(super) woken: BTreeSet<MachineId>,
    /// Those that it launches.
    pub(super) launched: Vec<Shape>,
    /// Free slots of machines on their way, one entry for each.
    pub(super) coming: Vec<u64>,
    budget: Budget,
    spent: Spent,
}

impl<'a> PoolPlan<'a> {
    pub(in crate::schedule) fn new(settings: &'a PoolSettings, state: &'a FleetState) -> Self {
        let of_pool = |machine: &&MachineState| {
            machine.pool.as_ref() == Some(&settings.name) && machine.seen != Seen::Gone
        };
        let machines: Vec<&MachineState> = state.machines.iter().filter(of_pool).collect();
        let on_way = machines.iter().filter(|machine| machine.is_on_its_way());
        Self {
            settings,
            offer: Arc::new(offer(settings)),
            coming: on_way.map(|_| u64::from(settings.slots)).collect(),
            machines,
            leaving: BTreeSet::new(),
            sleeping: 0,
            woken: BTreeSet::new(),
            launched: Vec::new(),
            budget: Budget::of(settings),
            spent: state.spent.get(&settings.name).copied().unwrap_or_default(),
        }
    }

    /// How many builds of a class one machine runs at once.
    pub(super) fn each(&self, class: &Class) -> u64 {
        let times = |has: Option<u64>, asked: Option<u64>| match (has, asked) {
            (Some(has), Some(asked)) if asked > 0 => has / asked,
            _ => u64::MAX,
        };
        let (has, asked) = (&self.offer.capacity, &class.resources);
        u64::from(self.settings.slots)
            .min(times(has.cores.map(u64::from), asked.cores.map(u64::from)))
            .min(times(has.memory, asked.memory))
            .min(times(has.disk, asked.disk))
    }

    /// Machines that are wanted up and stay so.
    pub(super) fn up(&self) -> u32 {
        let stays =
            |machine: &&&MachineState| machine.wanted == Wanted::Up && !self.leaving.contains(&machine.id);
        count(self.machines.iter().filter(stays).count() + self.woken.len() + self.launched.len())
    }

    /// Machines kept asleep.
    pub(super) fn asleep(&self) -> u32 {
        let stays = |machine: &&&MachineState| {
            machine.wanted == Wanted::Dormant
                && !self.leaving.contains(&machine.id)
                && !self.woken.contains(&machine.id)
        };
        count(self.machines.iter().filter(stays).count()) + self.sleeping
    }

    /// The fewest machines that are kept up; none once the budget is used up.
    pub(super) fn least(&self) -> u32 {
        if self.exhausted().is_some() { 0 } else { self.settings.min }
    }

    /// If the budget is used up: how.
    pub(in crate::schedule) fn exhausted(&self) -> Option<OverBudget> {
        self.budget.allows(&self.spent, Money::micros(1)).err()
    }

    /// A machine that sleeps and could be woken.
    pub(super) fn sleeper(&self, now: Timestamp) -> Option<MachineId> {
        let can = |machine: &&&MachineState| {
            (machine.wanted, machine.seen) == (Wanted::Dormant, Seen::Dormant)
                && !self.leaving.contains(&machine.id)
                && !self.woken.contains(&machine.id)
                && !is_due(machine, self.settings, now)
        };
        self.machines.iter().find(can).map(|machine| machine.id)
    }

    /// Whether the budget has room for one more machine for an hour.
    pub(super) fn affords_one(&self) -> Result<(), Blocker> {
        let paid = self.machines.iter().filter(|machine| machine.is_paid()).map(|machine| machine.price);
        let new = u64::try_from(self.woken.len() + self.launched.len() + 1).unwrap_or(u64::MAX);
        let hour = paid.sum::<Money>() + self.price().times(new);
        self.budget.allows(&self.spent, hour).map_err(Blocker::Budget)
    }

    /// The price of a machine for one hour: what the settings say, else the most that one of them costs.
    pub(in crate::schedule) fn price(&self) -> Money {
        let seen = || self.machines.iter().map(|machine| machine.price).max().unwrap_or_default();
        self.settings.price.map_or_else(seen, Money::from_setting)
    }

    /// How the next machine is to be had, or why there is none. `launched` counts those of all pools in this decision.
    pub(in crate::schedule) fn next(
        &self,
        state: &FleetState,
        per_minute: u32,
        launched: usize,
        now: Timestamp,
    ) -> Result<Shape, Blocker> {
        let (memory, name) = (&state.memory, &self.settings.name);
        if let Some(pause) = memory.pause(name, now) {
            return Err(Blocker::Paused { until: pause.until, why: pause.why.clone() });
        }
        if count(self.machines.len() + self.launched.len()) >= self.settings.max {
            return Err(Blocker::Full { max: self.settings.max });
        }
        self.affords_one()?;
        let minute =
            |machine: &&MachineState| machine.pool.is_some() && now.since(machine.requested).as_secs() < 60;
        let recent = memory.recent(now).max(state.machines.iter().filter(minute).count());
        if count(recent + launched) >= per_minute {
            return Err(Blocker::Rate { per_minute });
        }
        let is_up = |machine: &MachineState| machine.wanted == Wanted::Up && is_wanted(machine);
        if state.probation.is_some() && (launched > 0 || state.machines.iter().any(is_up)) {
            return Err(Blocker::Breaker);
        }
        let on_way = |shape: Option<&Shape>| {
            let is_it = |other: Option<&Shape>| shape.is_none() || shape == other;
            self.launched.iter().any(|other| is_it(Some(other)))
                || self
                    .machines
                    .iter()
                    .any(|machine| machine.is_on_its_way() && is_it(machine.shape.as_ref()))
        };
        if memory.is_on_trial(name) && on_way(None) {
            return Err(Blocker::Trial);
        }
        let mut first: Option<(Shape, Unavailable)> = None;
        let mut on_trial = false;
        for shape in self.shapes() {
            match memory.unavailable(name, &shape, now) {
                Some(why) => {
                    if first.as_ref().is_none_or(|(_, other)| why.until() < other.until()) {
                        first = Some((shape, why));
                    }
                }
                None if memory.boots_badly(name, &shape) && on_way(Some(&shape)) => on_trial = true,
                None => return Ok(shape),
            }
        }
        Err(match first {
            Some((shape, why)) if !on_trial => Blocker::Unavailable { shape, why },
            Some(_) | None => Blocker::Trial,
        })
    }

    /// The shapes in which the next machine may come, in the order of wish: all types in a zone, then the next zone,
    /// then the other market.
    fn shapes(&self) -> Vec<Shape> {
        let settings = self.settings;
        let of_spot = |shape: &&Shape| shape.market == Market::Spot;
        let all: Vec<&Shape> =
            self.machines.iter().filter_map(|machine| machine.shape.as_ref()).chain(&self.launched).collect();
        let spot = all.iter().copied().filter(of_spot).count();
        let wants_spot = spot * 100 < usize::from(settings.spot) * (all.len() + 1);
        let markets: &[Market] = match (wants_spot, settings.spot_fallback, settings.spot) {
            (true, true, _) => &[Market::Spot, Market::OnDemand],
            (true, false, _) => &[Market::Spot],
            (false, _, 0) => &[Market::OnDemand],
            (false, _, _) => &[Market::OnDemand, Market::Spot],
        };
        let some = |names: &[String]| -> Vec<Option<String>> {
            if names.is_empty() { vec![None] } else { names.iter().cloned().map(Some).collect() }
        };
        let (types, zones) = (some(&settings.types), some(&settings.zones));
        let mut shapes = Vec::new();
        for market in markets {
            for zone in &zones {
                for kind in &types {
                    shapes.push(Shape { instance_type: kind.clone(), zone: zone.clone(), market: *market });
                }
            }
        }
        shapes
    }
}

/// What the machines of a pool offer.
pub fn offer(pool: &PoolSettings) -> Offer {
    Offer {
        systems: pool.systems.iter().cloned().collect(),
        features: pool.features.iter().cloned().collect(),
        mandatory: BTreeSet::new(),
        capacity: Resources { cores: pool.cores, memory: pool.memory, disk: pool.disk },
    }
}

/// Whether a machine is so old, or has built so much, that it is to be replaced.
pub(super) fn is_due(machine: &MachineState, pool: &PoolSettings, now: Timestamp) -> bool {
    now.since(machine.requested) >= pool.max_age.get()
        || (pool.max_builds > 0 && machine.builds >= pool.max_builds)
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
