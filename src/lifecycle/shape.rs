//! The ways in which a machine can be had.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an instance is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the list price, for as long as it is wanted.
    OnDemand,
    /// Cheaper, and the provider may take it back.
    Spot,
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        })
    }
}

/// One way to get a machine of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// The instance type; none where the provider has only one.
    pub instance_type: Option<String>,
    /// The zone; none where the provider chooses.
    pub zone: Option<String>,
    /// How it is paid for.
    pub market: Market,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.market)?;
        self.instance_type.as_ref().map_or(Ok(()), |kind| write!(f, " {kind}"))?;
        self.zone.as_ref().map_or(Ok(()), |zone| write!(f, " in {zone}"))
    }
}
