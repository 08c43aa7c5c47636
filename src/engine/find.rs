//! The cells of a flake: from an earlier evaluation of the same tree, or from a new one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{error::EngineError, farm::Farm};
use crate::{
    eval::{BrokenCell, EvalEvent, FlakeRef, LockedFlake, Override, SystemSelection},
    matrix::{Cell, Matrix, Slice},
    nix::{DrvKey, System},
    plan::Attempts,
};

/// The version of the stored document; another one is evaluated anew.
const DOCUMENT: u32 = 1;
/// How many known cells go on together.
const PART: usize = 2048;

/// What a user asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The flake.
    pub flake: FlakeRef,
    /// Inputs to replace.
    pub overrides: Vec<Override>,
    /// The systems wanted; none means those that a builder offers.
    pub systems: Option<BTreeSet<System>>,
    /// The part of the matrix wanted.
    pub slice: Slice,
    /// Which recorded results are taken for an answer.
    pub attempts: Attempts,
}

/// A cell, and its key if an earlier evaluation of the same tree has told it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FoundCell {
    /// The cell.
    pub cell: Cell,
    /// Its key.
    pub key: Option<DrvKey>,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// How many cells there will be.
    Count { cells: usize, systems: Vec<System> },
    /// A matrix of one system.
    Matrix { system: System, matrix: Matrix },
    /// A cell.
    Cell(FoundCell),
    /// Cells that an earlier evaluation has found, the same ones together every time.
    Part(Vec<FoundCell>),
    /// A cell that cannot be evaluated.
    Broken(BrokenCell),
}

/// A whole evaluation without a broken cell, as the database keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Document {
    v: u32,
    pub(super) matrices: Vec<(System, Matrix)>,
    pub(super) cells: Vec<FoundCell>,
}

impl Document {
    pub(super) fn new(matrices: Vec<(System, Matrix)>, cells: Vec<FoundCell>) -> Self {
        Self { v: DOCUMENT, matrices, cells }
    }
}

/// The document of an earlier evaluation, if there is one and its derivations are still in the store.
pub(super) async fn recall(farm: &Farm, locked: &LockedFlake) -> Result<Option<Document>, EngineError> {
    let Some(document) = farm.eval_get::<Document>(&locked.fingerprint).await? else { return Ok(None) };
    let files = farm.files.clone();
    let checked = crate::task::blocking("check derivations", move || {
        let is_whole =
            document.v == DOCUMENT && document.cells.iter().all(|found| files.has_drv(&found.cell.drv));
        is_whole.then_some(document)
    })
    .await?;
    Ok(checked)
}

/// Sends what an earlier evaluation found.
pub(super) async fn replay(document: Document, wanted: &SystemSelection, found: &mpsc::Sender<Found>) {
    let is_wanted = |system: &System| match wanted {
        SystemSelection::All => true,
        SystemSelection::These(systems) => systems.contains(system),
    };
    let cells: Vec<FoundCell> = document.cells.into_iter().filter(|c| is_wanted(&c.cell.system)).collect();
    let systems: BTreeSet<System> = cells.iter().map(|found| found.cell.system.clone()).collect();
    // A receiver that is gone has its own reason, which the run reports.
    found.send(Found::Count { cells: cells.len(), systems: systems.into_iter().collect() }).await.ok();
    for (system, matrix) in document.matrices {
        if is_wanted(&system) {
            found.send(Found::Matrix { system, matrix }).await.ok();
        }
    }
    let mut cells = cells.into_iter();
    loop {
        let part: Vec<FoundCell> = cells.by_ref().take(PART).collect();
        if part.is_empty() {
            return;
        }
        found.send(Found::Part(part)).await.ok();
    }
}

/// Evaluates the flake and sends what comes, while it comes.
pub(super) async fn evaluate(
    farm: &Farm,
    locked: &LockedFlake,
    wanted: &SystemSelection,
    found: &mpsc::Sender<Found>,
    cancel: CancellationToken,
) -> Result<(), EngineError> {
    let (tell, mut events) = mpsc::channel(256);
    let evaluation = farm.evaluator.evaluate(locked, wanted, tell, cancel);
    let forward = async {
        while let Some(event) = events.recv().await {
            let event = match event {
                EvalEvent::Found { systems, cells } => {
                    Found::Count { cells, systems: systems.into_iter().collect() }
                }
                EvalEvent::Matrix { system, matrix } => Found::Matrix { system, matrix },
                EvalEvent::Cell(cell) => Found::Cell(FoundCell { cell, key: None }),
                EvalEvent::Broken(cell) => Found::Broken(cell),
            };
            found.send(event).await.ok();
        }
    };
    let (summary, ()) = tokio::join!(evaluation, forward);
    let summary = summary?;
    tracing::debug!(cells = summary.cells, broken = summary.broken, children = summary.children, "evaluated");
    Ok(())
}
