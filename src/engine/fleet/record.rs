//! What this process has seen of one machine's work. Pure.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    lifecycle::{AttemptOutcome, InfraCause},
    schedule::{
        Sign,
        health::{Defect, Place},
    },
};

/// The weight of the newest build in the pace, in percent.
const WEIGHT: u32 = 25;

/// What this process has seen of one machine's work.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Record {
    /// Builds made.
    pub(in crate::engine) builds: u64,
    /// Since when it has nothing to do.
    pub(in crate::engine) idle_since: Option<Timestamp>,
    /// Whether the provider takes it back.
    pub(in crate::engine) interrupted: bool,
    /// What is wrong with it, and since when.
    pub(in crate::engine) unfit: Option<(String, Timestamp)>,
    pace: Option<Duration>,
}

impl Record {
    pub(super) fn built(&mut self, took: Duration) {
        self.builds += 1;
        let mixed = |pace: Duration| (pace * (100 - WEIGHT) + took * WEIGHT) / 100;
        self.pace = Some(self.pace.map_or(took, mixed));
    }

    /// How long a build takes here, on a moving average; none before the first.
    pub(super) fn pace(&self) -> Option<Duration> {
        self.pace
    }
}

/// What an outcome says of the machine; nothing, if nobody is to blame.
pub(super) fn sign(outcome: &AttemptOutcome) -> Option<Sign> {
    match outcome {
        AttemptOutcome::Passed
        | AttemptOutcome::Failed { .. }
        | AttemptOutcome::Timeout { .. }
        | AttemptOutcome::LogLimit
        | AttemptOutcome::NotDeterministic { .. } => Some(Sign::Verdict),
        AttemptOutcome::Infra { .. } if outcome.is_free() => None,
        AttemptOutcome::Infra { .. } => Some(Sign::Infra),
        AttemptOutcome::Cancelled => None,
    }
}

/// What the end of an attempt says against its machine until the machine is asked the next time.
pub(super) fn fault(outcome: &AttemptOutcome) -> Option<(&'static str, Option<Defect>)> {
    let AttemptOutcome::Infra { cause, .. } = outcome else { return None };
    match cause {
        InfraCause::DiskFull => {
            let full = Defect::Space { place: Place::Store, free: 0, least: 1 };
            Some(("a build found a disk full", Some(full)))
        }
        InfraCause::ConnectionLost | InfraCause::HostKey => Some(("the connection to it was lost", None)),
        InfraCause::Killed
        | InfraCause::Corrupt
        | InfraCause::Daemon
        | InfraCause::Substituter
        | InfraCause::Interrupted
        | InfraCause::OwnerDied
        | InfraCause::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_to_blame_for_a_machine_that_is_taken_back() {
        let infra = |cause| AttemptOutcome::Infra { cause, message: "lost".to_owned() };
        assert_eq!(sign(&infra(InfraCause::ConnectionLost)), Some(Sign::Infra));
        assert_eq!(sign(&infra(InfraCause::Interrupted)), None);
        assert_eq!(sign(&AttemptOutcome::Failed { message: String::new() }), Some(Sign::Verdict));
    }

    #[test]
    fn the_pace_follows_what_builds_take() {
        let mut record = Record::default();
        for _ in 0..30 {
            record.built(Duration::from_millis(100));
        }
        record.built(Duration::from_millis(500));
        assert_eq!((record.pace(), record.builds), (Some(Duration::from_millis(200)), 31));
    }
}
