//! The need that nobody meets now.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Schedule, view::FleetView};
use crate::{ids::MachineId, plan::Class};

/// How much of one class waits for a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// How many builds.
    pub builds: u64,
    /// The longest path from one of them to an end of the graph.
    pub longest: Duration,
}

/// Work that is ready and fits no free slot, by class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    needs: BTreeMap<Class, Need>,
}

impl Demand {
    /// The classes and their needs.
    pub fn needs(&self) -> impl Iterator<Item = (&Class, Need)> {
        self.needs.iter().map(|(class, need)| (class, *need))
    }

    /// The need of one class.
    pub fn of(&self, class: &Class) -> Need {
        self.needs.get(class).copied().unwrap_or_default()
    }

    /// Adds to the need of a class.
    pub fn add(&mut self, class: &Class, need: Need) {
        if need.builds > 0 {
            let sum = self.needs.entry(class.clone()).or_default();
            sum.builds = sum.builds.saturating_add(need.builds);
            sum.longest = sum.longest.max(need.longest);
        }
    }

    /// Adds the demand of another run.
    pub fn merge(&mut self, other: &Self) {
        for (class, need) in other.needs() {
            self.add(class, need);
        }
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// What waits in `schedules`, without what the free slots of `fleet` can take: each slot is counted once, for
    /// the class that fewest builders fit.
    pub fn of_all<'a>(schedules: impl IntoIterator<Item = &'a Schedule>, fleet: &FleetView) -> Self {
        let mut all = Self::default();
        for schedule in schedules {
            for (lot, ranks) in &schedule.ready {
                let longest = ranks.first().map(|rank| rank.0.0).unwrap_or_default();
                let builds = u64::try_from(ranks.len()).unwrap_or(u64::MAX);
                all.add(&lot.class, Need { builds, longest });
            }
        }
        let mut choosy: Vec<(usize, Class)> =
            all.needs.keys().map(|class| (fleet.free_for(class).count(), class.clone())).collect();
        choosy.sort();
        let mut taken: HashMap<MachineId, u64> = HashMap::new();
        for (_, class) in choosy {
            let mut open = all.of(&class).builds;
            for machine in fleet.free_for(&class) {
                let taken = taken.entry(machine).or_default();
                let given = open.min(u64::from(fleet.room(machine, &class)).saturating_sub(*taken));
                *taken += given;
                open -= given;
            }
            match all.needs.get_mut(&class) {
                Some(need) if open > 0 => need.builds = open,
                Some(_) | None => {
                    all.needs.remove(&class);
                }
            }
        }
        all
    }
}

impl Schedule {
    /// What waits here and fits no free slot of `fleet`.
    pub fn demand(&self, fleet: &FleetView) -> Demand {
        Demand::of_all([self], fleet)
    }
}

#[cfg(test)]
mod tests;
