//! `[fleet]`, `[[builder]]` and `[[pool]]`: the machines of a farm.

mod builder;
mod check;
mod pool;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use builder::{BuilderSettings, Transport};
pub(super) use check::check;
pub use pool::{
    Accelerator, Ec2Settings, ExecSettings, FakeSettings, PoolName, PoolSettings, ProviderKind, QemuSettings,
    Setup,
};

use super::Span;

/// `[fleet]`: what holds for all machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FleetSettings {
    /// Whether this machine builds too. Default: true.
    pub local: bool,
    /// A file of builders in the format of `/etc/nix/machines`, added to `[[builder]]`. Default: none.
    pub machines_file: Option<PathBuf>,
    /// How often machines are asked how they are, and their leases renewed. Default: 10s.
    pub health_interval: Span,
    /// How long a launched machine waits without a sign of the farm before it powers itself off. Default: 10m.
    pub lease: Span,
    /// How long a machine may not answer before it is given up, and what ran there is done elsewhere. Default: 2m.
    pub lost_after: Span,
    /// Infrastructure failures in a row after which a machine is quarantined. Default: 3.
    pub quarantine_after: u32,
    /// How long a builder that croft cannot replace stays in quarantine. Default: 30m.
    pub quarantine: Span,
    /// The least free space of a builder's store, in MiB. Default: 1024.
    pub min_free_store: u64,
    /// The least free space of a builder's build directory and `/tmp`, in MiB. Default: 256.
    pub min_free_tmp: u64,
    /// The least share of free inodes of each of them, in percent. Default: 2.
    pub min_free_inodes: u8,
    /// The oldest Nix a builder may run. Default: `2.8`.
    pub min_nix: String,
    /// The farthest a builder's clock may be off. Default: 5s.
    pub max_clock_skew: Span,
    /// The most machines launched in a minute, over all pools. Default: 20.
    pub launches_per_minute: u32,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            local: true,
            machines_file: None,
            health_interval: Span::seconds(10),
            lease: Span::seconds(600),
            lost_after: Span::seconds(120),
            quarantine_after: 3,
            quarantine: Span::seconds(1800),
            min_free_store: 1024,
            min_free_tmp: 256,
            min_free_inodes: 2,
            min_nix: "2.8".to_owned(),
            max_clock_skew: Span::seconds(5),
            launches_per_minute: 20,
        }
    }
}
