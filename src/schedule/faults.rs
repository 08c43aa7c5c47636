//! Whose fault are infrastructure failures: one machine's, one derivation's, or everybody's.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::view::Probation;
use crate::{clock::Timestamp, ids::MachineId, nix::DrvKey};

/// Machines on which a derivation fails by infrastructure before it is held back.
const POISON: usize = 3;
/// The breaker looks back this long,
const WINDOW: Duration = Duration::from_secs(600);
/// and says nothing about fewer attempts than this.
const ATTEMPTS: usize = 10;
/// Machines that prove themselves in a row before all are trusted again.
const PROOFS: usize = 3;

/// What an attempt says about machines. One that was interrupted or cancelled says nothing and is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It came to a verdict, whatever that is.
    Verdict,
    /// It failed by infrastructure.
    Infra,
}

/// What is to be done about a derivation after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Nothing special.
    Nobody,
    /// The derivation has failed by infrastructure on this many machines: it is held back, and they are cleared.
    Derivation {
        /// How many.
        machines: usize,
    },
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: Timestamp,
    key: DrvKey,
    sign: Sign,
}

#[derive(Debug)]
struct Trip {
    proved: BTreeSet<MachineId>,
    in_a_row: usize,
}

/// The infrastructure failures of late.
#[derive(Debug, Default)]
pub struct Faults {
    recent: VecDeque<Attempt>,
    /// Failures in a row.
    machines: BTreeMap<MachineId, Vec<DrvKey>>,
    /// Where a derivation failed since its last verdict.
    derivations: BTreeMap<DrvKey, BTreeSet<MachineId>>,
    trip: Option<Trip>,
}

impl Faults {
    /// An attempt has ended.
    pub fn ended(&mut self, machine: MachineId, key: DrvKey, sign: Sign, now: Timestamp) -> Blame {
        self.recent.push_back(Attempt { at: now, key, sign });
        let mut blame = Blame::Nobody;
        match sign {
            Sign::Verdict => {
                self.machines.remove(&machine);
                self.derivations.remove(&key);
                if let Some(trip) = &mut self.trip {
                    trip.in_a_row += usize::from(trip.proved.insert(machine));
                }
            }
            Sign::Infra => {
                self.machines.entry(machine).or_default().push(key);
                let on = self.derivations.entry(key).or_default();
                on.insert(machine);
                if let Some(trip) = &mut self.trip {
                    trip.proved.remove(&machine);
                    trip.in_a_row = 0;
                }
                if on.len() >= POISON {
                    blame = Blame::Derivation { machines: on.len() };
                    self.clear(key);
                }
            }
        }
        self.judge(now);
        blame
    }

    /// Infrastructure failures of a machine in a row.
    pub fn in_a_row(&self, machine: MachineId) -> u32 {
        u32::try_from(self.machines.get(&machine).map_or(0, Vec::len)).unwrap_or(u32::MAX)
    }

    /// A machine comes out of quarantine: one more failure sends it back. `after` is how many it takes.
    pub fn released(&mut self, machine: MachineId, after: u32) {
        let keep = usize::try_from(after.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(failures) = self.machines.get_mut(&machine) {
            failures.truncate(keep);
        }
    }

    /// A machine is gone.
    pub fn forget(&mut self, machine: MachineId) {
        self.machines.remove(&machine);
        if let Some(trip) = &mut self.trip {
            trip.proved.remove(&machine);
        }
    }

    /// The machines that take work, if most of what was tried lately failed by infrastructure.
    pub fn probation(&mut self, now: Timestamp) -> Option<Probation> {
        self.judge(now);
        self.trip.as_ref().map(|trip| Probation { proved: trip.proved.clone() })
    }

    /// The failures of a poisonous derivation say nothing about machines.
    fn clear(&mut self, key: DrvKey) {
        self.derivations.remove(&key);
        self.machines.retain(|_, failures| {
            failures.retain(|other| *other != key);
            !failures.is_empty()
        });
        self.recent.retain(|attempt| attempt.key != key);
    }

    fn judge(&mut self, now: Timestamp) {
        while self.recent.front().is_some_and(|attempt| now.since(attempt.at) > WINDOW) {
            self.recent.pop_front();
        }
        let infra = self.recent.iter().filter(|attempt| attempt.sign == Sign::Infra).count();
        let is_bad = self.recent.len() >= ATTEMPTS && infra * 2 > self.recent.len();
        match &self.trip {
            None if is_bad => self.trip = Some(Trip { proved: BTreeSet::new(), in_a_row: 0 }),
            Some(trip) if trip.in_a_row >= PROOFS => {
                self.trip = None;
                self.recent.clear();
            }
            Some(_) if !is_bad => self.trip = None,
            None | Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::place::tests::machine;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn key(number: u8) -> DrvKey {
        DrvKey::new([number; 32])
    }

    #[test]
    fn failures_in_a_row_are_the_machines_and_a_verdict_clears_it() {
        let mut faults = Faults::default();
        faults.ended(machine(1), key(1), Sign::Infra, at(0));
        faults.ended(machine(1), key(2), Sign::Infra, at(1));
        assert_eq!(faults.in_a_row(machine(1)), 2);
        faults.ended(machine(1), key(3), Sign::Infra, at(2));
        faults.released(machine(1), 3);
        assert_eq!(faults.in_a_row(machine(1)), 2, "one more is enough");
        faults.ended(machine(1), key(4), Sign::Verdict, at(3));
        assert_eq!(faults.in_a_row(machine(1)), 0);
    }

    #[test]
    fn a_derivation_that_fails_on_three_machines_is_poison_and_they_are_cleared() {
        let mut faults = Faults::default();
        faults.ended(machine(1), key(9), Sign::Infra, at(0));
        faults.ended(machine(1), key(9), Sign::Infra, at(0));
        assert_eq!(faults.ended(machine(2), key(9), Sign::Infra, at(1)), Blame::Nobody, "two machines");
        assert_eq!(faults.ended(machine(3), key(9), Sign::Infra, at(2)), Blame::Derivation { machines: 3 });
        for number in 1..=3 {
            assert_eq!(faults.in_a_row(machine(number)), 0);
        }
    }

    #[test]
    fn when_most_attempts_fail_machines_must_prove_themselves() {
        let mut faults = Faults::default();
        for number in 0..9 {
            faults.ended(machine(number), key(number), Sign::Infra, at(0));
        }
        assert_eq!(faults.probation(at(0)), None, "too few to say");
        faults.ended(machine(9), key(9), Sign::Infra, at(1));
        assert_eq!(faults.probation(at(1)).unwrap().proved.len(), 0);
        faults.ended(machine(1), key(20), Sign::Verdict, at(2));
        faults.ended(machine(2), key(21), Sign::Verdict, at(3));
        assert_eq!(faults.probation(at(3)).unwrap().proved.len(), 2);
        faults.ended(machine(3), key(22), Sign::Verdict, at(4));
        assert_eq!(faults.probation(at(4)), None, "three in a row");
        assert_eq!(faults.probation(at(4)), None);
    }

    #[test]
    fn what_is_ten_minutes_old_is_forgiven() {
        let mut faults = Faults::default();
        for number in 0..12 {
            faults.ended(machine(number), key(number), Sign::Infra, at(0));
        }
        assert!(faults.probation(at(600)).is_some());
        assert!(faults.probation(at(601)).is_none());
    }
}
