//! Where machines come from: one small trait, and an adapter for each kind of provider. Edge layer.
//!
//! A provider launches what it is told and tells what it has. It decides nothing: how many, when and why is
//! `schedule`'s, what a machine has lived through is `db`'s, and talking to its builder is `remote`'s.

pub mod boot;
mod child;
mod ec2;
mod error;
mod exec;
mod fake;
mod instance;
mod order;
mod qemu;
mod text;

use futures_util::future::BoxFuture;

pub use ec2::open_ec2;
#[cfg(feature = "ec2")]
pub use ec2::{Caller, Ec2, Patience};
pub use error::{Class, ProviderError};
pub use exec::ExecProvider;
pub use fake::{FakeKnobs, FakeProvider};
pub use instance::{Instance, InstanceState};
pub use order::{Identity, LaunchOrder, Secret};
pub use qemu::QemuProvider;

pub use crate::lifecycle::{Address, InstanceId, Market, Reach, Shape};

/// The answer of a provider, some time later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ProviderError>>;

/// Launches and ends machines.
///
/// Every verb may be repeated: a caller that does not know how an earlier call ended calls again.
pub trait MachineProvider: Send + Sync + std::fmt::Debug {
    /// Launches the machine that `order` describes, or finds the one that an earlier call with the same machine id
    /// has launched: never two for one id. The instance carries the farm, the machine and the pool from its first
    /// moment. It need not have an address yet.
    fn launch<'a>(&'a self, order: &'a LaunchOrder) -> Answer<'a, Instance>;

    /// Ends an instance and frees all it holds. Callers repeat it until [`get`](Self::get) says that it is gone.
    /// An instance that is gone already is no error.
    fn terminate<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()>;

    /// What is known of one instance. The class [`Class::Gone`] says that there is none: soon after a launch that
    /// may mean "not yet".
    fn get<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Instance>;

    /// All instances of this farm that are not gone, whoever launched them. An error rather than a part of them.
    fn list(&self) -> Answer<'_, Vec<Instance>>;

    /// The end of what the machine wrote to its console, for a person to read; empty where there is none. At most
    /// 64 KiB; hostile text.
    fn console<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Vec<u8>>;

    /// The provider's way to keep machines stopped, if it has one.
    fn dormancy(&self) -> Option<&dyn Dormancy> {
        None
    }
}

/// Keeps machines stopped instead of ending them: their disks stay, their cores cost nothing.
pub trait Dormancy: Send + Sync {
    /// Stops an instance. Repeated until it is seen stopped.
    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()>;

    /// Starts a stopped instance with a new lease. Repeated until it is seen running.
    fn start<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()>;
}
