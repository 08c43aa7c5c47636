//! The states of a cell as every door shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a cell in a run or a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellState {
    /// It was built in this run and passed.
    Passed,
    /// An earlier pass of the same key stands.
    Reused,
    /// Its own builder failed on a healthy machine.
    Failed,
    /// A derivation it needs failed.
    Blocked,
    /// The same key has both passed and failed: proof, not suspicion.
    Flaky,
    /// It ran or was silent too long.
    Timeout,
    /// It wrote too much log.
    LogLimit,
    /// It could not be evaluated.
    EvalError,
    /// Nothing was learnt about it.
    Infra,
    /// The user or a newer push ended it.
    Cancelled,
    /// The project leaves it out, with a reason.
    Excluded,
    /// It would be built (plans), or waits to be (runs).
    Build,
    /// It would be fetched from a binary cache (plans only).
    Substitute,
    /// It is being built.
    Running,
}

impl CellState {
    /// The word that every interface shows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Reused => "reused",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Flaky => "flaky",
            Self::Timeout => "timeout",
            Self::LogLimit => "log-limit",
            Self::EvalError => "eval-error",
            Self::Infra => "infra",
            Self::Cancelled => "cancelled",
            Self::Excluded => "excluded",
            Self::Build => "build",
            Self::Substitute => "substitute",
            Self::Running => "running",
        }
    }

    /// The glyph that goes with the word, so that no interface speaks by colour alone.
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Passed => "✓",
            Self::Reused => "≡",
            Self::Failed => "✗",
            Self::Blocked => "⤫",
            Self::Flaky => "≈",
            Self::Timeout => "⏱",
            Self::LogLimit => "▤",
            Self::EvalError => "ƒ",
            Self::Infra => "⚠",
            Self::Cancelled => "⊘",
            Self::Excluded => "–",
            Self::Build => "…",
            Self::Substitute => "↓",
            Self::Running => "▶",
        }
    }

    /// Whether the cell has come to rest.
    pub fn is_final(self) -> bool {
        match self {
            Self::Build | Self::Substitute | Self::Running => false,
            Self::Passed
            | Self::Reused
            | Self::Failed
            | Self::Blocked
            | Self::Flaky
            | Self::Timeout
            | Self::LogLimit
            | Self::EvalError
            | Self::Infra
            | Self::Cancelled
            | Self::Excluded => true,
        }
    }
}

impl fmt::Display for CellState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
