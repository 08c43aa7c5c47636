//! Who builds next and where, and which machines there should be. Pure layer.
//!
//! The schedule knows derivations by their number and by what they need of a builder. It starts nothing; the engine
//! takes work from it and tells it how the work ended.

pub mod cost;
mod demand;
mod faults;
pub mod health;
mod memory;
mod place;
mod policy;
mod queue;
mod standing;
mod state;
mod view;
mod wait;
mod work;

pub use demand::{Demand, Need};
pub use faults::{Blame, Faults, Sign};
pub use memory::{LaunchFault, LaunchMemory, Pause, PauseReason, Unavailable};
pub use place::Placement;
pub use policy::{
    Blocker, FleetAction, LaunchReason, budget_until, decide, may_end, offer, wind_down,
    with_newcomers_awaited,
};
pub use queue::{Added, End, Progress, Schedule, Stage};
pub use standing::{Closed, Standing};
pub use state::{FleetState, MachineState, Unfit};
pub use view::{BuilderView, FleetView, Probation, SlotId};
pub use wait::{Outlook, Situation, WaitReason};
pub use work::Work;

pub use crate::plan::Class;
