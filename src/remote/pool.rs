//! Connections to a daemon, kept for the next build.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{
    connection::Connection,
    dial::{DialError, StoreAccess},
    dial_ssh::SshStore,
};

/// Connections that are open and idle.
#[derive(Debug, Clone)]
pub struct Pool {
    access: Arc<Access>,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// Set once a daemon has answered.
    greeted: Arc<OnceCell<()>>,
}

/// The way to a daemon.
#[derive(Debug)]
pub(super) enum Access {
    Store(StoreAccess),
    Ssh(Box<SshStore>),
}

impl Pool {
    /// A pool of connections to one store.
    pub fn new(access: StoreAccess) -> Self {
        Self::of(Access::Store(access))
    }

    pub(super) fn of(access: Access) -> Self {
        Self { access: Arc::new(access), idle: Arc::default(), greeted: Arc::default() }
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// An idle connection, or a new one.
    pub async fn take(&self) -> Result<Connection, DialError> {
        // The first connection is opened alone: of several daemons that set up a new store at once, one waits until
        // all the others are gone.
        let first = || async {
            self.give_back(self.dial().await?);
            Ok::<(), DialError>(())
        };
        self.greeted.get_or_try_init(first).await?;
        while let Some(mut connection) = self.pop() {
            if connection.is_usable() {
                return Ok(connection);
            }
        }
        self.dial().await
    }

    async fn dial(&self) -> Result<Connection, DialError> {
        match &*self.access {
            Access::Store(store) => store.dial().await,
            Access::Ssh(store) => store.dial().await,
        }
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Gives a connection back after its operations are done. One on which an operation failed is hung up.
    pub fn give_back(&self, mut connection: Connection) {
        if connection.is_usable() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    /// Hangs up what is idle: after a machine was lost, its other connections are of no use either.
    pub(super) fn hang_up_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }
}
