//! The decision on one cell.

use std::fmt;

use super::{Attempts, KeyHistory, PastVerdict, Policy, PreviousKey};
use crate::{graph::Cause, lifecycle::AttemptOutcome, matrix::Cell, nix::DrvKey};

/// Why a recorded result stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reuse {
    /// The same key passed.
    Passed(PastVerdict),
    /// The same key failed, and that has not expired.
    Failed(PastVerdict),
    /// The same key has passed and failed.
    Flaky(PastVerdict),
}

/// Why a cell must be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MakeReason {
    /// No earlier run had this cell.
    New,
    /// The cell's key is not that of the earlier run.
    InputChanged {
        /// What it had.
        previous: PreviousKey,
        /// What changed, as far as it is known; filled in by whoever has both graphs.
        causes: Vec<Cause>,
    },
    /// The key is known, but no attempt has reached a verdict.
    Undetermined,
    /// The recorded failure is too old to stand.
    FailureExpired,
    /// The result of an external cell is too old to stand.
    ExternalExpired,
    /// The user wants failures tried again.
    RetryFailed,
    /// The user wants everything built again.
    Rebuild,
}

impl fmt::Display for MakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::InputChanged { causes, .. } if causes.is_empty() => f.write_str("input changed"),
            Self::InputChanged { causes, .. } => {
                let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
                write!(f, "input changed: {}", causes.join(", "))
            }
            Self::Undetermined => f.write_str("no verdict yet"),
            Self::FailureExpired => f.write_str("failure expired"),
            Self::ExternalExpired => f.write_str("external result expired"),
            Self::RetryFailed => f.write_str("retry of a failure"),
            Self::Rebuild => f.write_str("rebuild"),
        }
    }
}

/// What a run does about a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A recorded result stands.
    Reuse(Reuse),
    /// Its derivation must be made (or found made) to know.
    Make(MakeReason),
}

impl Decision {
    /// This decision, with what changed in the inputs, if that is its reason.
    #[must_use]
    pub fn with_causes(self, causes: Vec<Cause>) -> Self {
        match self {
            Self::Make(MakeReason::InputChanged { previous, .. }) => {
                Self::Make(MakeReason::InputChanged { previous, causes })
            }
            Self::Make(_) | Self::Reuse(_) => self,
        }
    }
}

/// Decides on `cell`, whose derivation has `key`.
pub fn decide(
    cell: &Cell,
    key: DrvKey,
    history: &KeyHistory,
    previous: Option<&PreviousKey>,
    policy: &Policy,
) -> Decision {
    match policy.attempts {
        Attempts::Rebuild => return Decision::Make(MakeReason::Rebuild),
        Attempts::Reuse | Attempts::RetryFailed => {}
    }
    let Some(latest) = &history.latest else { return Decision::Make(unknown(key, previous)) };
    let age = policy.now.since(latest.ended);
    if cell.external && age > policy.external_ttl {
        return Decision::Make(MakeReason::ExternalExpired);
    }
    if history.is_flaky() && !matches!(policy.attempts, Attempts::RetryFailed) {
        return Decision::Reuse(Reuse::Flaky(latest.clone()));
    }
    match (&latest.outcome, policy.attempts) {
        (AttemptOutcome::Passed, _) => Decision::Reuse(Reuse::Passed(latest.clone())),
        (_, Attempts::RetryFailed) => Decision::Make(MakeReason::RetryFailed),
        (_, _) if age > policy.failure_ttl => Decision::Make(MakeReason::FailureExpired),
        (_, _) => Decision::Reuse(Reuse::Failed(latest.clone())),
    }
}

fn unknown(key: DrvKey, previous: Option<&PreviousKey>) -> MakeReason {
    match previous {
        None => MakeReason::New,
        Some(previous) if previous.key == key => MakeReason::Undetermined,
        Some(previous) => MakeReason::InputChanged { previous: previous.clone(), causes: Vec::new() },
    }
}
