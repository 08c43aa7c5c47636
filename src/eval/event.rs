//! What an evaluation tells while it runs, and at its end.

use std::collections::BTreeSet;

use super::error::CellError;
use crate::{
    matrix::{Cell, CellName, Coordinates, Matrix, MatrixName},
    nix::System,
};

/// Which systems' checks are evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SystemSelection {
    /// All that the flake lists.
    #[default]
    All,
    /// Those of these that the flake lists.
    These(BTreeSet<System>),
}

/// Something an evaluation learned. `Found` comes first; a cell's matrix comes before the cell.
#[derive(Debug, Clone)]
pub enum EvalEvent {
    /// The names of all cells are known.
    Found {
        /// The systems that are evaluated.
        systems: BTreeSet<System>,
        /// How many cells they have.
        cells: usize,
    },
    /// A matrix of one system.
    Matrix {
        /// The system; what a matrix excludes can differ between systems.
        system: System,
        /// Its axes and exclusions.
        matrix: Matrix,
    },
    /// A cell whose derivation is in the store.
    Cell(Cell),
    /// A cell that has no derivation.
    Broken(BrokenCell),
}

/// A cell that could not be evaluated.
#[derive(Debug, Clone)]
pub struct BrokenCell {
    /// Its attribute name; one that croft would refuse is written in escaped form.
    pub name: CellName,
    /// The system it stands under.
    pub system: System,
    /// Its matrix, where the flake told it.
    pub matrix: Option<MatrixName>,
    /// Its point, where the flake told it.
    pub axes: Coordinates,
    /// Why it is broken.
    pub error: CellError,
}

/// How an evaluation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct EvalSummary {
    /// Cells with a derivation.
    pub cells: usize,
    /// Cells without one.
    pub broken: usize,
    /// How many children it took.
    pub children: usize,
}
