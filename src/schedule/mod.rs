//! Who builds next: the ready set, longest remaining path first. Pure layer.
//!
//! The schedule knows derivations by their number and by what they need of a builder. It starts nothing; the engine
//! takes work from it and tells it how the work ended.

mod queue;
mod work;

pub use queue::{Added, End, Progress, Schedule};
pub use work::{Class, Work};
