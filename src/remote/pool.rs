//! Connections to a daemon, kept for the next build.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    connection::Connection,
    dial::{DialError, StoreAccess},
};

/// Connections that are open and idle.
#[derive(Debug, Clone)]
pub struct Pool {
    access: Arc<StoreAccess>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Pool {
    /// A pool of connections to one store.
    pub fn new(access: StoreAccess) -> Self {
        Self { access: Arc::new(access), idle: Arc::default() }
    }

    /// The store behind the pool.
    pub fn access(&self) -> &StoreAccess {
        &self.access
    }

    /// An idle connection, or a new one.
    pub async fn take(&self) -> Result<Connection, DialError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.access.dial().await,
        }
    }

    /// Gives a connection back after its operations are done. One on which an operation failed is hung up.
    pub fn give_back(&self, connection: Connection) {
        if connection.client.is_usable() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
