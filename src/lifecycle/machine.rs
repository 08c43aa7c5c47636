//! The life of a machine: what is wanted of it and what is seen of it are two things, and never one state.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the farm wants of a machine. `Gone` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It builds.
    Up,
    /// It is kept stopped, for the next need.
    Dormant,
    /// It ends.
    Gone,
}

/// What is seen of a machine. `Gone` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// The intent to launch it is recorded; whether the provider has it is not known yet.
    Requested,
    /// The provider has an instance; the machine has not joined yet.
    Booting,
    /// It has joined: probed, healthy, answering.
    Ready,
    /// It had joined and does not answer now.
    Unreachable,
    /// The provider keeps it stopped.
    Dormant,
    /// The provider has it no more, or never had it.
    Gone,
}

/// A machine as it is shown: what is wanted, seen and running, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Asked for.
    Launching,
    /// On its way up.
    Booting,
    /// Ready and building.
    Busy,
    /// Ready, with nothing to do.
    Idle,
    /// It does not answer.
    Unreachable,
    /// Takes no new work; what runs goes on.
    Draining,
    /// On its way to sleep.
    Stopping,
    /// Stopped, kept for the next need.
    Dormant,
    /// On its way out.
    Terminating,
    /// No more.
    Gone,
}

/// A move that a state does not allow.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("a machine that is {from} cannot become {to}; this is a bug in croft")]
pub struct IllegalMachineMove {
    from: &'static str,
    to: &'static str,
}

impl Wanted {
    /// The word of the database and every interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Dormant => "dormant",
            Self::Gone => "gone",
        }
    }

    /// What is wanted after a change of mind, if that is legal.
    pub fn move_to(self, to: Self) -> Result<Self, IllegalMachineMove> {
        match (self, to) {
            (Self::Up | Self::Dormant, _) | (Self::Gone, Self::Gone) => Ok(to),
            (Self::Gone, Self::Up | Self::Dormant) => {
                Err(IllegalMachineMove { from: self.word(), to: to.word() })
            }
        }
    }
}

impl Seen {
    /// The word of the database and every interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Unreachable => "unreachable",
            Self::Dormant => "dormant",
            Self::Gone => "gone",
        }
    }

    /// The state after something else is seen, if that is legal.
    pub fn move_to(self, to: Self) -> Result<Self, IllegalMachineMove> {
        let legal = match (self, to) {
            (Self::Gone, to) => to == Self::Gone,
            (_, Self::Gone | Self::Booting) => true,
            (Self::Requested, to) => to == Self::Requested,
            (Self::Dormant, to) => to == Self::Dormant,
            (Self::Booting, to) => matches!(to, Self::Ready | Self::Dormant),
            (Self::Ready | Self::Unreachable, to) => to != Self::Requested,
        };
        if legal { Ok(to) } else { Err(IllegalMachineMove { from: self.word(), to: to.word() }) }
    }
}

impl Phase {
    /// The phase of a machine of which this is wanted and seen, and on which `running` builds run.
    pub fn of(wanted: Wanted, seen: Seen, running: usize) -> Self {
        match (wanted, seen, running) {
            (_, Seen::Gone, _) => Self::Gone,
            (Wanted::Up, Seen::Requested, _) => Self::Launching,
            (Wanted::Up, Seen::Booting | Seen::Dormant, _) => Self::Booting,
            (Wanted::Up, Seen::Ready, 0) => Self::Idle,
            (Wanted::Up, Seen::Ready, _) => Self::Busy,
            (Wanted::Up, Seen::Unreachable, _) => Self::Unreachable,
            (Wanted::Dormant, Seen::Dormant, _) => Self::Dormant,
            (Wanted::Dormant | Wanted::Gone, Seen::Ready, 1..) => Self::Draining,
            (Wanted::Dormant, Seen::Requested | Seen::Booting | Seen::Ready | Seen::Unreachable, _) => {
                Self::Stopping
            }
            (
                Wanted::Gone,
                Seen::Requested | Seen::Booting | Seen::Ready | Seen::Unreachable | Seen::Dormant,
                _,
            ) => Self::Terminating,
        }
    }

    /// The word of every interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Booting => "booting",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Unreachable => "unreachable",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Dormant => "dormant",
            Self::Terminating => "terminating",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a machine is no longer wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", content = "detail", rename_all = "kebab-case")]
pub enum EndReason {
    /// It had nothing to do for as long as its pool allows.
    Idle,
    /// The run that it was started for is over, and nobody stays to look after it.
    RunOver,
    /// It has reached the age at which its pool replaces machines.
    Age,
    /// It has made as many builds as its pool allows one machine.
    Builds,
    /// The provider could not or would not launch it.
    LaunchFailed(String),
    /// It did not join in time.
    NeverJoined(String),
    /// It joined, and something was wrong with it.
    Refused(String),
    /// Too many infrastructure failures in a row, or a disk that stays full.
    Unhealthy(String),
    /// It stopped answering.
    Lost(String),
    /// The provider takes it back.
    Interrupted,
    /// The provider ended it.
    EndedByProvider(String),
    /// A person asked for it.
    Operator,
    /// Nobody has a record of it.
    Orphan,
    /// Its pool is no longer configured.
    PoolRemoved,
}

impl EndReason {
    /// Whether the machine was launched and never became of use, for a reason that its console may tell.
    pub fn is_failed_boot(&self) -> bool {
        match self {
            Self::NeverJoined(_) | Self::Refused(_) => true,
            Self::Idle
            | Self::RunOver
            | Self::Age
            | Self::Builds
            | Self::LaunchFailed(_)
            | Self::Unhealthy(_)
            | Self::Lost(_)
            | Self::Interrupted
            | Self::EndedByProvider(_)
            | Self::Operator
            | Self::Orphan
            | Self::PoolRemoved => false,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::RunOver => f.write_str("the run is over"),
            Self::Age => f.write_str("reached its maximum age"),
            Self::Builds => f.write_str("reached its maximum number of builds"),
            Self::LaunchFailed(why) => write!(f, "could not be launched: {why}"),
            Self::NeverJoined(why) => write!(f, "did not join: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unhealthy(why) => write!(f, "unhealthy: {why}"),
            Self::Lost(why) => write!(f, "lost: {why}"),
            Self::Interrupted => f.write_str("taken back by the provider"),
            Self::EndedByProvider(why) => write!(f, "ended by the provider: {why}"),
            Self::Operator => f.write_str("asked for by a person"),
            Self::Orphan => f.write_str("nobody has a record of it"),
            Self::PoolRemoved => f.write_str("its pool is no longer configured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_final() {
        for to in [Seen::Requested, Seen::Booting, Seen::Ready, Seen::Unreachable, Seen::Dormant] {
            assert!(Seen::Gone.move_to(to).is_err(), "{to:?}");
        }
        assert!(Wanted::Gone.move_to(Wanted::Up).is_err());
        assert!(Wanted::Dormant.move_to(Wanted::Up).is_ok());
    }

    #[test]
    fn only_a_machine_that_has_booted_becomes_ready() {
        assert!(Seen::Requested.move_to(Seen::Ready).is_err());
        assert!(Seen::Dormant.move_to(Seen::Ready).is_err());
        assert!(Seen::Booting.move_to(Seen::Ready).is_ok());
        assert!(Seen::Unreachable.move_to(Seen::Ready).is_ok());
    }

    #[test]
    fn what_runs_decides_between_draining_and_ending() {
        assert_eq!(Phase::of(Wanted::Gone, Seen::Ready, 1), Phase::Draining);
        assert_eq!(Phase::of(Wanted::Gone, Seen::Ready, 0), Phase::Terminating);
        assert_eq!(Phase::of(Wanted::Dormant, Seen::Ready, 0), Phase::Stopping);
        assert_eq!(Phase::of(Wanted::Up, Seen::Ready, 0), Phase::Idle);
    }
}
