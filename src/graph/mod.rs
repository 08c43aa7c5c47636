//! The derivation graph: what each cell needs, and the key of each derivation. Pure layer.
//!
//! Nodes are added inputs first, so a node's number is larger than those of its inputs. Reading a `.drv` file is the
//! caller's work; what the bytes mean is decided here.

mod diff;
mod load;
mod need;
mod node;

pub use diff::{Cause, causes};
pub use load::{GraphError, Loader, Missing};
pub use need::{Need, NeedWalk, Needed, Presence};
pub use node::{DrvGraph, Node, NodeId, NodeInput, NodeOutput};
