//! One builder: a Nix daemon that is spoken to, directly. Edge layer.
//!
//! A builder realises a derivation, streams its log, and is told to stop by dropping the connection: Nix ends the
//! build of a client that is gone. Nothing here decides what to build.

mod classify;
mod connection;
mod dial;
mod local;
mod pool;
mod realise;

pub use connection::Connection;
pub use dial::{DialError, StoreAccess};
pub use local::LocalBuilder;
pub use pool::Pool;
pub use realise::{Ask, BuildLog, Limits, Realised};
