//! A builder on another machine: what is known of it, and the way to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    arrivals::Arrivals,
    connection::Connection,
    dial_ssh::{BuilderCache, SshStore},
    health::{Health, HealthError, HealthSettings, Monitor},
    holdings::Holdings,
    local_disk,
    pool::{Access, Pool},
    ssh::SshTarget,
    transfer::{Side, TransferError},
};
use crate::{
    clock::Clock,
    lifecycle::{AttemptOutcome, InfraCause},
};

use super::classify::infra;

/// What a builder on another machine needs besides the way to it.
#[derive(Debug, Clone, Default)]
pub struct FarSettings {
    /// A binary cache that it may fetch its inputs from. Default: none, and all is sent.
    pub cache: Option<BuilderCache>,
    /// What is watched of the machine.
    pub health: HealthSettings,
}

/// A builder on another machine.
#[derive(Debug)]
pub(super) struct Far {
    /// Connections to its daemon.
    pub(super) pool: Pool,
    /// Connections to the store that inputs come from and outputs go to.
    pub(super) hub: Pool,
    pub(super) arrivals: Arrivals,
    pub(super) has_cache: bool,
    holdings: Mutex<Holdings>,
    pub(super) monitor: Monitor,
}

impl Far {
    pub(super) fn new(target: SshTarget, hub: Pool, settings: FarSettings) -> Self {
        let store = SshStore::new(target, settings.cache.as_ref());
        let monitor = Monitor::new(Arc::clone(store.transport()), settings.health);
        Self {
            has_cache: store.has_cache(),
            pool: Pool::of(Access::Ssh(Box::new(store))),
            hub,
            arrivals: Arrivals::default(),
            holdings: Mutex::default(),
            monitor,
        }
    }

    pub(super) fn holdings(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to one of the two stores.
    pub(super) async fn take(&self, side: Side) -> Result<Connection, TransferError> {
        let pool = match side {
            Side::Hub => &self.hub,
            Side::Builder => &self.pool,
        };
        pool.take().await.map_err(|error| TransferError::Dial(side, error))
    }

    /// Asks the machine how it is, which also renews its lease.
    pub(super) async fn health(&self, clock: &dyn Clock) -> Result<Health, HealthError> {
        self.monitor.poll(clock).await
    }

    /// Whether the machine itself says that a disk is full. One that does not answer says nothing.
    pub(super) async fn disk_is_full(&self) -> bool {
        match self.monitor.disks().await {
            Ok(disks) => disks.is_full(),
            Err(error) => {
                tracing::debug!(%error, "the machine does not tell whether its disk is full");
                false
            }
        }
    }

    /// What a failed transfer means, with what the machine concerned says of its disk.
    pub(super) async fn outcome(&self, error: &TransferError) -> AttemptOutcome {
        let outcome = error.outcome();
        let full = match error.complains_of_disk() {
            None => false,
            Some(Side::Builder) => self.disk_is_full().await,
            Some(Side::Hub) => match self.hub.access() {
                Access::Store(store) => local_disk::is_full(store.settings()),
                Access::Ssh(_) => false,
            },
        };
        match outcome {
            AttemptOutcome::Infra { message, .. } if full => infra(InfraCause::DiskFull, message),
            outcome => outcome,
        }
    }
}
