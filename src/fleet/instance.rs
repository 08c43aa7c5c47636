//! What a provider has.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, ids::MachineId};

/// A provider's own name of an instance, such as `i-0abc…`. Opaque; ASCII letters, digits and `-_.:/` only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

impl InstanceId {
    /// The longest name.
    const MAX: usize = 200;

    /// The id, if the text is one.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        let fits = !text.is_empty() && text.len() <= Self::MAX && text.chars().all(is_plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a machine's sshd listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The state of an instance as its provider tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// On its way up.
    Pending,
    /// Running, which does not mean that it answers.
    Running,
    /// On its way to sleep.
    Stopping,
    /// Stopped, with its disks.
    Stopped,
    /// On its way out.
    Terminating,
    /// No more. Providers show it for a while.
    Gone,
}

/// An instance as its provider describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The provider's name of it.
    pub id: InstanceId,
    /// The machine it was launched as; none if its mark cannot be read.
    pub machine: Option<MachineId>,
    /// Its state.
    pub state: InstanceState,
    /// Where it can be reached, once that is known.
    pub address: Option<Address>,
    /// When it was launched, by the provider's clock.
    pub launched: Option<Timestamp>,
    /// Why the provider changed its state (a reclaimed spot instance, a failed start), made harmless and short.
    pub why: Option<String>,
    /// Whether the provider has said that it will take it back soon.
    pub interrupted: bool,
}
