//! What is there already: valid outputs, substitutes, `.drv` files and reports in the store, and the farm's binary
//! cache. Edge layer.
//!
//! [`probe()`] and [`StoreFiles`] answer questions and change nothing; [`BinaryCache`] also writes.

pub mod binary;
mod files;
mod probe;

pub use binary::{BinaryCache, CacheError};
pub use files::{StoreFiles, StoredReport};
pub use probe::probe;
