//! What croft serves over http. A door: it shows what is there and decides nothing.

pub mod cache;
mod listener;
mod store;

pub use axum::Router;
pub use listener::{Limits, serve};
pub use store::store_router;
