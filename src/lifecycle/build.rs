//! The life of a build: one derivation made once for all who need it.

use serde::{Deserialize, Serialize};

/// Where a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// An owner means to run it; no attempt is under way.
    Claimed,
    /// An attempt is under way.
    Running,
    /// It has its last outcome; it never moves again.
    Ended,
}

/// A move that a state does not allow.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("a build that is {from:?} cannot become {to:?}; this is a bug in croft")]
pub struct IllegalTransition {
    from: BuildState,
    to: BuildState,
}

impl BuildState {
    /// The state after a move to `to`, if it is legal.
    pub fn move_to(self, to: Self) -> Result<Self, IllegalTransition> {
        match (self, to) {
            (Self::Claimed, Self::Running | Self::Ended) | (Self::Running, Self::Claimed | Self::Ended) => {
                Ok(to)
            }
            (Self::Claimed, Self::Claimed) | (Self::Running, Self::Running) | (Self::Ended, _) => {
                Err(IllegalTransition { from: self, to })
            }
        }
    }

    /// The word the database keeps.
    pub fn word(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BuildState::*;

    #[test]
    fn only_the_legal_moves_are_allowed() {
        let all = [Claimed, Running, Ended];
        let legal: Vec<_> = all
            .iter()
            .flat_map(|from| all.iter().filter(|to| from.move_to(**to).is_ok()).map(move |to| (*from, *to)))
            .collect();
        assert_eq!(legal, [(Claimed, Running), (Claimed, Ended), (Running, Claimed), (Running, Ended)]);
    }
}
