//! Whether a builder takes work, and if not, why not.

use std::fmt;

use crate::clock::Timestamp;

/// Whether a builder takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Open,
    /// It does not. What runs there goes on.
    Closed(Closed),
}

impl Standing {
    /// Whether it takes work.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Open => true,
            Self::Closed(_) => false,
        }
    }
}

/// Why a builder takes no work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// It has not joined yet.
    Joining,
    /// It does not answer.
    Unreachable,
    /// It is on its way out or to sleep, for this reason if one is on record.
    Leaving(Option<String>),
    /// Its provider takes it back.
    Interrupted,
    /// It failed several times in a row.
    Quarantine {
        /// Until when; none until a person releases it.
        until: Option<Timestamp>,
        /// What happened.
        why: String,
    },
    /// It has just failed so many times in a row.
    Failing {
        /// How many.
        times: u32,
    },
    /// A person took it out.
    Operator,
    /// Something is wrong with it, such as a full disk.
    Unfit(String),
    /// Its pool's budget is used up until then.
    Budget {
        /// When enough of it is free again, if nothing more is spent.
        until: Timestamp,
    },
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joining => f.write_str("has not joined yet"),
            Self::Unreachable => f.write_str("does not answer"),
            Self::Leaving(None) => f.write_str("is on its way out"),
            Self::Leaving(Some(why)) => write!(f, "is on its way out: {why}"),
            Self::Interrupted => f.write_str("is taken back by its provider"),
            Self::Quarantine { until: Some(until), why } => {
                write!(f, "is in quarantine until {until}: {why}")
            }
            Self::Quarantine { until: None, why } => write!(f, "is in quarantine: {why}"),
            Self::Failing { times } => {
                write!(f, "has just failed {times} times in a row by infrastructure")
            }
            Self::Operator => f.write_str("was taken out by a person"),
            Self::Unfit(why) => write!(f, "is not fit: {why}"),
            Self::Budget { until } => {
                write!(f, "takes no work until {until}, because its pool's budget is used up")
            }
        }
    }
}
