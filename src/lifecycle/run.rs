//! The life of a run: all that one trigger started.

use serde::{Deserialize, Serialize};

use super::CellState;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Its cells are being found, planned and built.
    Running,
    /// Every cell came to rest.
    Finished,
    /// The user ended it.
    Cancelled,
    /// The process that owned it died.
    Lost,
}

impl RunState {
    /// The word the database keeps.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

/// What a run says of its flake, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunVerdict {
    /// Some cell could not be evaluated.
    EvalError,
    /// Some cell failed.
    Failed,
    /// Some cell is undetermined: infrastructure, or cancelled.
    Undetermined,
    /// Every cell passed, now or before.
    Passed,
}

impl RunVerdict {
    /// The verdict over the final states of all cells. A run without cells passes nothing.
    pub fn of(states: impl IntoIterator<Item = CellState>) -> Self {
        let verdicts = states.into_iter().filter_map(|state| match state {
            CellState::Excluded => None,
            // A proved flake has passed at least once, and its derivation cannot be told from one that always does.
            CellState::Passed | CellState::Reused | CellState::Flaky => Some(Self::Passed),
            CellState::EvalError => Some(Self::EvalError),
            CellState::Failed | CellState::Blocked | CellState::Timeout | CellState::LogLimit => {
                Some(Self::Failed)
            }
            CellState::Infra
            | CellState::Cancelled
            | CellState::Build
            | CellState::Substitute
            | CellState::Running => Some(Self::Undetermined),
        });
        verdicts.min().unwrap_or(Self::Undetermined)
    }

    /// The exit code of `croft check`: 0 passed, 1 failed, 3 undetermined, 6 evaluation error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Undetermined => 3,
            Self::EvalError => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_cell_decides() {
        use CellState::*;
        assert_eq!(RunVerdict::of([Passed, Reused, Flaky, Excluded]), RunVerdict::Passed);
        assert_eq!(RunVerdict::of([Passed, Infra]), RunVerdict::Undetermined);
        assert_eq!(RunVerdict::of([Infra, Failed]), RunVerdict::Failed);
        assert_eq!(RunVerdict::of([Failed, EvalError]), RunVerdict::EvalError);
        assert_eq!(RunVerdict::of([]), RunVerdict::Undetermined);
    }
}
