//! What a provider is told to launch.

use std::{fmt, time::Duration};

use crate::{
    clock::Timestamp,
    config::PoolName,
    ids::{FarmId, MachineId},
    lifecycle::Shape,
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
