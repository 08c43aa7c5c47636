//! A derivation that is being made in this run, and how that ended.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    graph::{Need, NodeId},
    ids::{AttemptId, BuildId, MachineId},
    lifecycle::{AttemptOutcome, InfraCause},
    nix::{DrvKey, DrvPath, StorePath, System},
    report::{TestCase, TestCounts},
};

/// What must be done about one derivation, with all that doing it needs.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) node: NodeId,
    pub(super) drv: DrvPath,
    pub(super) key: DrvKey,
    pub(super) system: System,
    /// Its outputs, where they are known beforehand.
    pub(super) outputs: BTreeSet<StorePath>,
    /// The outputs of other derivations that it reads, where they are known beforehand.
    pub(super) inputs: Arc<[StorePath]>,
    pub(super) way: Way,
    /// How long it is expected to take.
    pub(super) expected: Duration,
    /// The longest it may take.
    pub(super) timeout: Duration,
    /// When the run decided that the job is needed.
    pub(super) planned: Timestamp,
    /// What went before, if it is tried again.
    pub(super) retry: Option<Retry>,
}

/// A build that is tried again.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    /// The build, claimed.
    pub(super) build: BuildId,
    /// The number of the next attempt.
    pub(super) number: u32,
    /// Attempts that infrastructure has failed.
    pub(super) charged: u32,
    /// Attempts that ended because the machine was taken away.
    pub(super) free: u32,
    /// Where the last attempt was.
    pub(super) failed_on: MachineId,
    /// How long to wait first.
    pub(super) pause: Duration,
}

/// What a job came to on one builder.
#[derive(Debug)]
pub(super) enum Step {
    /// It has ended.
    Ended(JobEnd),
    /// It is tried again, on another builder if there is one.
    Again(Retry),
    /// Somebody else had it and gave it up; it waits for a builder once more.
    Open,
}

/// How a derivation is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Build it.
    Build,
    /// Build it again beside its valid outputs.
    Check,
    /// Fetch its outputs.
    Substitute,
    /// Its outputs are valid already; record that.
    Adopt,
}

impl From<Need> for Way {
    fn from(need: Need) -> Self {
        match need {
            Need::Build => Self::Build,
            Need::Substitute => Self::Substitute,
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(super) struct JobEnd {
    pub(super) node: NodeId,
    pub(super) outcome: AttemptOutcome,
    /// How the derivation came to be made.
    pub(super) origin: Origin,
    /// How many attempts this run made.
    pub(super) attempts: u32,
    /// The attempt that decided, if there was one.
    pub(super) attempt: Option<AttemptId>,
    pub(super) duration: Option<Duration>,
    pub(super) counts: TestCounts,
    pub(super) failing: Arc<[TestCase]>,
    pub(super) refused: Option<String>,
}

/// Who made a derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This run.
    Here,
    /// Another run that was at it.
    Joined,
    /// A binary cache.
    Substituter,
    /// It was valid in the store.
    Store,
}

impl JobEnd {
    /// The end of a job that never began.
    pub(super) fn cancelled(job: &Job) -> Self {
        Self {
            node: job.node,
            outcome: AttemptOutcome::Cancelled,
            origin: Origin::Here,
            attempts: 0,
            attempt: None,
            duration: None,
            counts: TestCounts::default(),
            failing: Arc::default(),
            refused: None,
        }
    }

    /// The end of a job whose task broke.
    pub(super) fn broken(job: &Job, message: String) -> Self {
        Self {
            outcome: AttemptOutcome::Infra { cause: InfraCause::Internal, message },
            ..Self::cancelled(job)
        }
    }
}
