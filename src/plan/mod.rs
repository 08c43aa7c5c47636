//! What a run needs: which results stand, which derivations to make, and why. Pure layer.
//!
//! A plan is a value. It is made from the graph, the view of the store and the recorded past, and nothing else.

mod class;
mod decide;
mod estimate;
mod history;
mod obstacle;
mod policy;
mod unmet;

pub use class::{Class, Offer};
pub use decide::{Decision, MakeReason, Reuse, decide};
pub use estimate::{Estimate, estimate};
pub use history::{KeyHistory, PastVerdict, PreviousKey};
pub use obstacle::{Obstacle, obstacles};
pub use policy::{Attempts, Policy};
pub use unmet::{Unmet, unmet};
