//! The lives of runs, builds, attempts, cells and machines: states and their legal moves. Pure layer.
//!
//! Only `engine` moves a state; `db` stores it, `report` reads it.

mod attempt;
mod build;
mod cell;
mod hold;
mod machine;
mod reach;
mod run;
mod shape;

pub use attempt::{AttemptOutcome, InfraCause};
pub use build::{BuildState, IllegalTransition};
pub use cell::CellState;
pub use hold::Hold;
pub use machine::{EndReason, IllegalMachineMove, Phase, Seen, Wanted};
pub use reach::{Address, InstanceId, Reach};
pub use run::{RunState, RunVerdict};
pub use shape::{Market, Shape};
