//! What keeps a machine from new work although it is up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Why a machine gets no new work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "kebab-case")]
pub enum Hold {
    /// Its infrastructure failed too often, or a person does not trust it.
    Quarantine {
        /// Why, in words.
        why: String,
        /// When it gets another chance; none until a person releases it.
        until: Option<Timestamp>,
    },
    /// A person wants it to take nothing new.
    Drain,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantine { why, until: Some(until) } => write!(f, "in quarantine until {until}: {why}"),
            Self::Quarantine { why, until: None } => write!(f, "in quarantine: {why}"),
            Self::Drain => f.write_str("drained by a person"),
        }
    }
}
