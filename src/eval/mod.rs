//! Evaluates a flake into cells. Edge layer: spawns `nix`, which is bounded and killable.
//!
//! A flake is hostile: every child has a memory limit, a time limit and caps on what it may print, and is killed
//! with everything it started. [`Evaluator::lock`] names a tree by its [`Fingerprint`]; [`Evaluator::evaluate`]
//! turns it into [`EvalEvent`]s while it runs. Nothing here builds, caches results or decides what to do with them.

mod batch;
mod cgroup;
mod child;
mod coordinate;
mod error;
mod event;
mod flake_ref;
mod host;
mod installable;
mod lines;
mod lock;
mod message;
mod nix;
mod program;
mod settings;
mod tree;
mod worker;

pub use coordinate::Evaluator;
pub use error::{CellError, ErrorKind, EvalError};
pub use event::{BrokenCell, EvalEvent, EvalSummary, SystemSelection};
pub use flake_ref::{FlakeRef, FlakeRefError, Override};
pub use host::Host;
pub use lock::{Fingerprint, LockedFlake};
pub use message::Position;
pub use settings::{EvalSettings, ImportFromDerivation, NixOption};
pub use tree::{LockRecord, Tree};
