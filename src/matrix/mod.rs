//! The test matrix as data: axes, values, cells and their coordinates. Pure layer.
//!
//! A flake's `checks` become [`Cell`]s. Those made by `croft.lib.matrix` carry coordinates; any other check is a
//! cell of a matrix with one axis, its own name. Nothing here evaluates or builds.

mod axis;
mod cell;
mod contract;
mod slice;

pub use axis::{AxisName, AxisValue, Coordinates, Exclusion, LabelError, Matrix, MatrixName};
pub use cell::{Cell, CellName, Expect, Resources};
pub use contract::{ContractError, RawCell, RawContract, RawMatrix};
pub use slice::{Condition, Slice};
