//! A derivation that is being made in this run, and how that ended.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    graph::{Need, NodeId},
    ids::AttemptId,
    lifecycle::AttemptOutcome,
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
    pub(super) way: Way,
    /// The longest it may take.
    pub(super) timeout: Duration,
    /// When the run decided that the job is needed.
    pub(super) planned: Timestamp,
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
