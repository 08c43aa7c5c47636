//! The loops that join pure decisions to effects: find cells, plan, dispatch, record, publish.
//!
//! A run is a pipeline of tasks with bounded channels between them:
//!
//! ```text
//! find ──cells──> planner ──jobs──> dispatch ──reports──> publish ──events──> renderers
//!                                     │  ▲
//!                                  run_job (claim, attempt, record)
//! ```
//!
//! So cells are built while others are still being evaluated, and nobody is told of anything that is not on the disk.

mod attempt;
mod check;
mod dispatch;
mod error;
mod event;
mod farm;
mod find;
mod fleet;
mod hub;
mod job;
mod lock;
mod planner;
mod preview;
mod probe;
mod publish;
mod push;
mod queue;
mod run_job;
mod tap;
mod verdict;

pub use check::{Conduct, check};
pub use dispatch::OnFailure;
pub use error::EngineError;
pub use event::{Event, Events};
pub use farm::{Farm, host_system};
pub use find::Request;
pub use fleet::{FarmKey, Fleet, FleetParts, IdentityError, Pool, StaticBuilder, Stay};
pub use planner::{CellWay, PlannedBatch, PlannedCell, Planner};
pub use preview::{Preview, preview};
pub use probe::{SandboxProbe, probe_sandbox};
