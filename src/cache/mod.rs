//! What is there already: valid outputs, substitutes, `.drv` files and reports in the store. Edge layer.
//!
//! Answers questions, changes nothing.

mod files;
mod probe;

pub use files::{StoreFiles, StoredReport};
pub use probe::probe;
