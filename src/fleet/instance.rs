//! What a provider has.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    ids::MachineId,
    lifecycle::{InstanceId, Reach},
};

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
    /// How it can be reached, once that is known.
    pub address: Option<Reach>,
    /// When it was launched, by the provider's clock.
    pub launched: Option<Timestamp>,
    /// Why the provider changed its state (a reclaimed spot instance, a failed start), made harmless and short.
    pub why: Option<String>,
    /// Whether the provider has said that it will take it back soon.
    pub interrupted: bool,
}
