//! What the user and the configuration want of planning.

use std::time::Duration;

use crate::clock::Timestamp;

/// Which recorded results are taken for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attempts {
    /// All that have not expired.
    #[default]
    Reuse,
    /// Passes only: failures are tried again (`--retry-failed`).
    RetryFailed,
    /// None: every cell is built once more (`--rebuild`).
    Rebuild,
}

/// How long results stand, seen from `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The moment of planning.
    pub now: Timestamp,
    /// Which results are taken for an answer.
    pub attempts: Attempts,
    /// How long a failure stands.
    pub failure_ttl: Duration,
    /// How long the result of an external cell stands.
    pub external_ttl: Duration,
}
