//! What the database remembers of a key, as planning needs it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::{
    clock::Timestamp,
    ids::AttemptId,
    lifecycle::AttemptOutcome,
    nix::{DrvKey, DrvPath},
    report::TestCounts,
};

/// One recorded verdict on a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastVerdict {
    /// The attempt that reached it.
    pub attempt: AttemptId,
    /// What it was.
    pub outcome: AttemptOutcome,
    /// When it was reached.
    pub ended: Timestamp,
    /// How long the attempt took.
    pub duration: Duration,
    /// Its tests.
    pub counts: TestCounts,
}

/// All verdicts on a key, in short.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyHistory {
    /// The latest verdict.
    pub latest: Option<PastVerdict>,
    /// How many attempts passed.
    pub passes: u64,
    /// How many attempts failed, timed out or wrote too much.
    pub failures: u64,
}

impl KeyHistory {
    /// Adds a verdict that is later than all so far.
    pub fn add(&mut self, verdict: PastVerdict) {
        match verdict.outcome {
            AttemptOutcome::Passed => self.passes += 1,
            AttemptOutcome::Failed { .. } | AttemptOutcome::Timeout { .. } | AttemptOutcome::LogLimit => {
                self.failures += 1;
            }
            // Not verdicts on the derivation: see `AttemptOutcome::is_verdict`.
            AttemptOutcome::NotDeterministic { .. }
            | AttemptOutcome::Infra { .. }
            | AttemptOutcome::Cancelled => return,
        }
        self.latest = Some(verdict);
    }

    /// Whether the same key has both passed and failed. Nothing but chance differs between the two.
    pub fn is_flaky(&self) -> bool {
        self.passes > 0 && self.failures > 0
    }

    /// The latest verdict, if it is a failure that has not expired and no pass speaks against it.
    pub fn standing_failure(&self, policy: &Policy) -> Option<&PastVerdict> {
        let latest = self.latest.as_ref()?;
        let fresh = policy.now.since(latest.ended) <= policy.failure_ttl;
        (self.passes == 0 && fresh && latest.outcome != AttemptOutcome::Passed).then_some(latest)
    }
}

/// The derivation that the same cell had in the latest earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousKey {
    /// Its key.
    pub key: DrvKey,
    /// Its path; the file may be gone.
    pub drv: DrvPath,
}
