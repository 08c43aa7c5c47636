//! What a run or a plan says of each cell: the one form that page, API and command line show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{TestCase, TestCounts};
use crate::{
    ids::{AttemptId, RunId},
    lifecycle::{CellState, RunVerdict},
    matrix::{CellName, Coordinates, Exclusion, Expect, Matrix},
    nix::{DrvKey, DrvPath, System},
};

/// One cell, as every door shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellReport {
    /// Its attribute name.
    pub name: CellName,
    /// The system it is for.
    pub system: System,
    /// Its point in the matrix.
    pub axes: Coordinates,
    /// Its derivation; none if it could not be evaluated.
    pub drv: Option<DrvPath>,
    /// Its key.
    pub key: Option<DrvKey>,
    /// Its state.
    pub state: CellState,
    /// Why it is in this state, in words.
    pub reason: Option<String>,
    /// What the project asserts of it.
    pub expect: Expect,
    /// Whether it reaches outside its derivation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impure: bool,
    /// How many attempts this run made.
    pub attempts: u32,
    /// How long the attempt that decided took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Its tests.
    pub tests: TestCounts,
    /// The attempt that decided, whose log and tests can be shown.
    pub attempt: Option<AttemptId>,
    /// The first few tests that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<TestCase>,
}

impl CellReport {
    /// A cell of which nothing is known but its state, and why.
    pub fn bare(name: CellName, system: System, axes: Coordinates, state: CellState, reason: String) -> Self {
        Self {
            name,
            system,
            axes,
            drv: None,
            key: None,
            state,
            reason: Some(reason),
            expect: Expect::Pass,
            impure: false,
            attempts: 0,
            duration_ms: None,
            tests: TestCounts::default(),
            attempt: None,
            failing: Vec::new(),
        }
    }
}

/// How many cells are in each state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All cells, excluded ones left out.
    pub cells: usize,
    /// The count by state.
    pub states: BTreeMap<CellState, usize>,
    /// The tests of all cells.
    pub tests: TestCounts,
}

impl Summary {
    /// The summary over `cells`.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a CellReport>) -> Self {
        let mut summary = Self::default();
        for cell in cells {
            summary.cells += usize::from(cell.state != CellState::Excluded);
            *summary.states.entry(cell.state).or_default() += 1;
            summary.tests.passed += cell.tests.passed;
            summary.tests.failed += cell.tests.failed;
            summary.tests.errors += cell.tests.errors;
            summary.tests.skipped += cell.tests.skipped;
        }
        summary
    }

    /// How many cells are in `state`.
    pub fn count(&self, state: CellState) -> usize {
        self.states.get(&state).copied().unwrap_or_default()
    }
}

/// A whole run: the document that `croft check --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The version of this document: 1.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// The flake, locked.
    pub flake: String,
    /// What was evaluated, as one hash.
    pub fingerprint: String,
    /// The verdict over all cells.
    pub verdict: RunVerdict,
    /// The cells, by system and name; then the points that the project leaves out.
    pub cells: Vec<CellReport>,
    /// The cells counted.
    pub summary: Summary,
}

/// The points that a matrix leaves out, each with the project's reason.
pub fn excluded_cells(system: &System, matrix: &Matrix) -> Vec<CellReport> {
    let report = |exclusion: &Exclusion| {
        let (name, axes) = (exclusion.axes.to_string().parse().ok()?, exclusion.axes.clone());
        Some(CellReport::bare(name, system.clone(), axes, CellState::Excluded, exclusion.reason.clone()))
    };
    matrix.excluded.iter().filter_map(report).collect()
}
