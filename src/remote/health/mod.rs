//! How another machine is: asked over a channel of its own, by a small shell loop that runs there.
//!
//! croft drives it: for every line it sends, the machine renews its lease and answers with one line. So a machine that
//! lost its croft, or the connection to it, sees its lease run out and can end itself.

mod join;
mod monitor;
mod report;
mod script;

use std::path::PathBuf;

pub use join::{JoinPolicy, JoinRefusal, Joined, NixVersion, join};
pub use monitor::HealthError;
pub(super) use monitor::Monitor;
pub use report::{Disk, Disks, Health};

/// Less free space than this, in bytes, is a full disk.
const LOW_BYTES: u64 = 32 << 20;
/// Fewer free inodes than this is a full disk too.
const LOW_INODES: u64 = 512;

/// Whether so little is free that builds fail for it.
pub(super) fn is_low(free_bytes: u64, inodes: u64, free_inodes: u64) -> bool {
    // A file system that reports no inodes at all has no limit on them.
    free_bytes < LOW_BYTES || (inodes > 0 && free_inodes < LOW_INODES)
}

/// What is watched of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// The file that is touched at each question. Default: none.
    pub lease: Option<PathBuf>,
    /// Where the machine learns that it will be taken away. Default: nowhere.
    pub notice: Notice,
    /// A folder of the store's file system. Default: `/nix/store`.
    pub store: PathBuf,
    /// Where builds work. Default: `/tmp`.
    pub build: PathBuf,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { lease: None, notice: Notice::None, store: "/nix/store".into(), build: "/tmp".into() }
    }
}

/// Where a machine learns that it will be taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Notice {
    /// Nowhere.
    #[default]
    None,
    /// A file that appears, and what it says.
    File(PathBuf),
    /// A shell command that prints the notice. It is ended after two seconds.
    Command(String),
}
