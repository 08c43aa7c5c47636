//! How one try of a build ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an attempt says nothing about the derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InfraCause {
    /// The builder process was killed by a signal that the build did not ask for.
    Killed,
    /// A disk or its inodes ran out.
    DiskFull,
    /// The connection to the daemon or the machine broke.
    ConnectionLost,
    /// The machine does not have the host key that it should have: it may be another one.
    HostKey,
    /// What came over is not what was announced.
    Corrupt,
    /// The daemon answered with something that is no build result.
    Daemon,
    /// An input could not be fetched.
    Substituter,
    /// The provider took the machine back.
    Interrupted,
    /// The croft process that owned the attempt died.
    OwnerDied,
    /// croft itself failed: its state directory, its log file.
    Internal,
}

impl fmt::Display for InfraCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "the builder was killed by a signal",
            Self::DiskFull => "the disk is full",
            Self::ConnectionLost => "the connection to the builder was lost",
            Self::HostKey => "the builder has another host key than it should",
            Self::Corrupt => "content was damaged on its way",
            Self::Daemon => "the Nix daemon failed",
            Self::Substituter => "an input could not be fetched",
            Self::Interrupted => "the provider took the machine back",
            Self::OwnerDied => "the croft process that ran it died",
            Self::Internal => "croft itself failed",
        })
    }
}

/// How an attempt ended. `Failed` is a statement about the derivation, `Infra` never is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum AttemptOutcome {
    /// Its outputs are valid.
    Passed,
    /// The builder ran to a non-zero exit by itself on a healthy machine, or made no proper output.
    Failed {
        /// Nix's words, without control characters.
        message: String,
    },
    /// It ran longer, or was silent longer, than it may.
    Timeout {
        /// Nix's words, without control characters.
        message: String,
    },
    /// It wrote more log than it may.
    LogLimit,
    /// A repeated build made another output.
    NotDeterministic {
        /// Nix's words, without control characters.
        message: String,
    },
    /// Nothing was learnt about the derivation.
    Infra {
        /// The class of the fault.
        cause: InfraCause,
        /// What happened, in words.
        message: String,
    },
    /// The user or a newer push ended it.
    Cancelled,
}

impl AttemptOutcome {
    /// Whether the same derivation should be tried again without being asked.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Infra { .. } => true,
            Self::Passed
            | Self::Failed { .. }
            | Self::Timeout { .. }
            | Self::LogLimit
            | Self::NotDeterministic { .. }
            | Self::Cancelled => false,
        }
    }

    /// Whether an attempt that ended so costs the build nothing: nobody is to blame for a machine that is taken back.
    pub fn is_free(&self) -> bool {
        match self {
            Self::Infra { cause: InfraCause::Interrupted, .. } => true,
            Self::Infra { .. }
            | Self::Passed
            | Self::Failed { .. }
            | Self::Timeout { .. }
            | Self::LogLimit
            | Self::NotDeterministic { .. }
            | Self::Cancelled => false,
        }
    }

    /// Whether it is a verdict on the derivation, so that it may be reused.
    pub fn is_verdict(&self) -> bool {
        match self {
            Self::Passed | Self::Failed { .. } | Self::Timeout { .. } | Self::LogLimit => true,
            Self::NotDeterministic { .. } | Self::Infra { .. } | Self::Cancelled => false,
        }
    }

    /// One word for tables and databases.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Timeout { .. } => "timeout",
            Self::LogLimit => "log-limit",
            Self::NotDeterministic { .. } => "not-deterministic",
            Self::Infra { .. } => "infra",
            Self::Cancelled => "cancelled",
        }
    }

    /// The words that came with it.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Failed { message }
            | Self::Timeout { message }
            | Self::NotDeterministic { message }
            | Self::Infra { message, .. } => Some(message),
            Self::Passed | Self::LogLimit | Self::Cancelled => None,
        }
    }
}
