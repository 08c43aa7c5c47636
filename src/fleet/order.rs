//! What a provider is told to launch.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    config::PoolName,
    ids::{FarmId, MachineId},
};

/// A text that is never shown or logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text in keeping.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

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

/// Who a machine is and who may come in, made before it is launched, so that nothing is trusted on first use.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The machine's ssh host key, as an OpenSSH private key.
    pub host_key: Secret,
    /// The same key's public line, `ssh-ed25519 AAAA…`.
    pub host_key_public: String,
    /// The farm's public line, the only one that may log in.
    pub authorized_key: String,
}

/// A machine to launch.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    /// The farm that wants it.
    pub farm: FarmId,
    /// The machine; also the token that makes a repeated launch harmless.
    pub machine: MachineId,
    /// Its name, such as `spot-3fa2c1`: letters, digits and `-`.
    pub name: String,
    /// Its pool.
    pub pool: PoolName,
    /// How it is to be had.
    pub shape: Shape,
    /// Its keys.
    pub identity: Identity,
    /// How long it waits without a sign of the farm before it powers itself off.
    pub lease: Duration,
    /// When it must be gone, whatever happens.
    pub expires: Timestamp,
}
