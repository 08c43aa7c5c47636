//! What happens in a run, as it happens: the stable stream that every renderer and follower reads.

use serde::Serialize;

use crate::{
    ids::{AttemptId, RunId},
    matrix::{CellName, Matrix},
    nix::{DrvKey, System},
    report::{CellReport, TestCase},
};

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Event {
    /// The flake is locked and the run has begun.
    Started {
        /// The run.
        run: RunId,
        /// The flake as Nix locked it.
        flake: String,
        /// Its revision, if it has one.
        revision: Option<String>,
        /// What is evaluated, as one hash.
        fingerprint: String,
        /// Whether the cells are known from an earlier evaluation.
        evaluated_before: bool,
    },
    /// A matrix was found.
    Matrix(Matrix),
    /// Cells were found; more may follow.
    Found {
        /// How many there will be, if all of them are wanted.
        cells: Option<usize>,
        /// The systems they are for.
        systems: Vec<System>,
    },
    /// A cell was planned, and is built or waits.
    Planned {
        /// The cell.
        cell: CellName,
        /// Its system.
        system: System,
        /// Why it is not reused.
        reason: String,
    },
    /// An attempt has begun.
    BuildStarted {
        /// The attempt.
        attempt: AttemptId,
        /// The derivation's name.
        name: String,
        /// The derivation's key.
        key: DrvKey,
        /// Which try of the build it is.
        number: u32,
        /// Where.
        machine: String,
    },
    /// A build waits for the same build of another croft process.
    BuildJoined {
        /// The derivation's name.
        name: String,
        /// The derivation's key.
        key: DrvKey,
    },
    /// A test ended within a running build.
    Test {
        /// The attempt.
        attempt: AttemptId,
        /// The test.
        test: TestCase,
    },
    /// A build entered a phase.
    Phase {
        /// The attempt.
        attempt: AttemptId,
        /// The phase, made harmless.
        name: String,
    },
    /// An attempt has ended and is recorded.
    BuildEnded {
        /// The attempt.
        attempt: AttemptId,
        /// The derivation's name.
        name: String,
        /// Where it ran.
        machine: String,
        /// How it ended, in one word.
        outcome: &'static str,
        /// What came with that.
        message: Option<String>,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// Whether it is tried again.
        retried: bool,
    },
    /// A cell has come to rest and is recorded.
    CellEnded(Box<CellReport>),
    /// Something happened to a machine of this run.
    Machine {
        /// Its name.
        machine: String,
        /// What, in a word.
        kind: String,
        /// The details, made harmless; may be empty.
        words: String,
    },
    /// Builds wait, and nothing runs. Told again when the reason changes.
    Waiting {
        /// How many.
        builds: usize,
        /// Why the first of them does.
        reason: String,
    },
    /// The run is being cancelled.
    Cancelling,
}

/// Where events go. Renderers may be slow; a run waits for them rather than lose a verdict.
pub type Events = tokio::sync::mpsc::Sender<Event>;
