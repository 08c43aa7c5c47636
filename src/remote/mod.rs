//! One builder: a Nix daemon that is spoken to directly, on this machine or over ssh. Edge layer.
//!
//! A builder takes the inputs of a derivation, makes it, streams its log and gives the outputs, and is told to stop by
//! dropping the connection: Nix ends the build of a client that is gone. Nothing here decides what to build, or where.
//!
//! ```text
//! hub ──send──> builder ──build──> builder ──fetch──> hub
//!      inputs             log                outputs
//! ```
//!
//! The hub is the store of this machine. NARs pass from one daemon to the other and are hashed on the way.

mod arrivals;
mod build;
mod builder;
mod classify;
mod closure;
mod connection;
mod dial;
mod dial_ssh;
mod far;
mod fetch;
mod garbage;
mod health;
mod holdings;
mod local_disk;
mod pool;
mod send;
mod ssh;
mod transfer;
mod work;

pub use build::{Ask, BuildLog, Limits, Realised, Unheard};
pub use builder::Builder;
pub use connection::Connection;
pub use dial::{DialError, StoreAccess};
pub use dial_ssh::BuilderCache;
pub use far::FarSettings;
pub use health::{
    Disk, Disks, Health, HealthError, HealthSettings, JoinPolicy, JoinRefusal, Joined, NixVersion, Notice,
    join,
};
pub use pool::Pool;
pub use ssh::{
    HostKey, HostKeyError, Identity, KeyPair, KeyPairError, SshError, SshTarget, SshWay, wait_for_ssh,
};
pub use work::{Outputs, Task, TaskMode};
