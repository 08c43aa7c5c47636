//! All that a run works with, joined.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;

use super::{error::EngineError, fleet::Fleet};
use crate::{
    cache::{BinaryCache, StoreFiles, StoredReport},
    clock::SharedClock,
    config::Settings,
    db::{Db, OwnerGuard, Project},
    eval::{Evaluator, Fingerprint, FlakeRef, LockRecord, SystemSelection},
    matrix::{Cell, CellName, Resources},
    nix::{DrvKey, StorePath, System},
    plan::{Attempts, KeyHistory, Offer, Policy, PreviousKey},
    remote::Builder,
    report::{Limits, TestReport, parse_junit},
    task,
};

/// The version of stored evaluations; raised when their form changes.
const EVALUATION: u32 = 1;
/// The version of stored locks, which are kept beside the evaluations; far from theirs.
const LOCK: u32 = 1_000_001;

/// The adapters of a farm. Chosen in one place, `cli::farm`.
#[derive(Debug)]
pub struct Farm {
    /// The settings in force.
    pub settings: Settings,
    /// The facts.
    pub db: Db,
    /// The proof that this process is registered as an owner.
    pub owner: Arc<OwnerGuard>,
    /// Evaluates flakes.
    pub evaluator: Evaluator,
    /// The store of this machine, which is also a builder.
    pub builder: Builder,
    /// The machines.
    pub fleet: Arc<Fleet>,
    /// The farm's binary cache, if it has one.
    pub cache: Option<BinaryCache>,
    /// The files of the store.
    pub files: StoreFiles,
    /// Where logs are.
    pub logs: PathBuf,
    /// The time.
    pub clock: SharedClock,
    /// What the builder offers, once somebody has asked.
    pub offer: OnceCell<Offer>,
}

impl Farm {
    /// What runs of one flake have in common: the reference as it was resolved.
    pub fn project(flake: &FlakeRef) -> Project {
        flake.as_str().to_owned().into()
    }

    /// The systems to evaluate: those the user wants, else those this machine is set up for.
    pub(super) fn systems(&self, wanted: Option<&BTreeSet<System>>) -> SystemSelection {
        let configured = || self.settings.build.systems.iter().cloned().collect::<BTreeSet<_>>();
        SystemSelection::These(match wanted {
            Some(wanted) => wanted.clone(),
            None if self.settings.build.systems.is_empty() => host_system().into_iter().collect(),
            None => configured(),
        })
    }

    /// What the builder offers: what the settings say, else what Nix says of itself.
    pub async fn offer(&self) -> Result<&Offer, EngineError> {
        self.offer
            .get_or_try_init(|| async {
                let own = &self.settings.build;
                let nix = self.evaluator.host().await?;
                Ok(Offer {
                    systems: if own.systems.is_empty() {
                        nix.systems
                    } else {
                        own.systems.iter().cloned().collect()
                    },
                    features: if own.features.is_empty() {
                        nix.features
                    } else {
                        own.features.iter().cloned().collect()
                    },
                    mandatory: BTreeSet::new(),
                    capacity: Resources::default(),
                })
            })
            .await
    }

    /// What this machine offers as one of the builders. Nix is not asked where it is none of them.
    pub(super) async fn local_offer(&self) -> Result<Offer, EngineError> {
        if self.settings.fleet.local {
            return Ok(self.offer().await?.clone());
        }
        Ok(Offer {
            systems: BTreeSet::new(),
            features: BTreeSet::new(),
            mandatory: BTreeSet::new(),
            capacity: Resources::default(),
        })
    }

    /// What all builders offer or could offer.
    pub(super) async fn offers(&self) -> Result<Vec<Offer>, EngineError> {
        Ok(self.fleet.offers(&self.local_offer().await?))
    }

    /// Ends the machines that nobody looks after any more: those of processes that died, and instances without a
    /// record. Returns how many there were.
    pub async fn sweep(&self) -> Result<u64, EngineError> {
        self.db.recover().await?;
        self.fleet.sweep_once().await
    }

    /// The policy of a run that is planned now.
    pub(super) fn policy(&self, attempts: Attempts) -> Policy {
        Policy {
            now: self.clock.now(),
            attempts,
            failure_ttl: self.settings.results.failure_ttl.get(),
            external_ttl: self.settings.results.external_ttl.get(),
        }
    }

    pub(super) async fn history(&self, key: DrvKey) -> Result<KeyHistory, EngineError> {
        Ok(self.db.verdicts_by_key(&[key]).await?.remove(&key).unwrap_or_default())
    }

    pub(super) async fn previous_keys<'c>(
        &self,
        project: &Project,
        cells: impl Iterator<Item = &'c Cell>,
    ) -> Result<HashMap<(CellName, System), PreviousKey>, EngineError> {
        let names: Vec<CellName> = cells.map(|cell| cell.name.clone()).collect();
        Ok(self.db.cell_previous(project, &names).await?)
    }

    pub(super) async fn eval_get<T: DeserializeOwned>(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<T>, EngineError> {
        Ok(self.db.eval_get(&fingerprint.to_string().into(), EVALUATION).await?)
    }

    pub(super) async fn eval_put<T: Serialize>(
        &self,
        fingerprint: &Fingerprint,
        document: &T,
    ) -> Result<(), EngineError> {
        Ok(self.db.eval_put(&fingerprint.to_string().into(), EVALUATION, document).await?)
    }

    pub(super) async fn lock_get(&self, tree: &Fingerprint) -> Result<Option<LockRecord>, EngineError> {
        Ok(self.db.eval_get(&tree.to_string().into(), LOCK).await?)
    }

    pub(super) async fn lock_put(&self, tree: &Fingerprint, record: &LockRecord) -> Result<(), EngineError> {
        Ok(self.db.eval_put(&tree.to_string().into(), LOCK, record).await?)
    }

    /// The report that a passing cell left below one of its outputs.
    pub(super) async fn stored_report(
        &self,
        outputs: &BTreeSet<StorePath>,
    ) -> Result<TestReport, EngineError> {
        let (files, outputs) = (self.files.clone(), outputs.clone());
        let report = task::blocking("read report", move || {
            outputs.iter().find_map(|output| match files.read_report(output) {
                StoredReport::None => None,
                StoredReport::Found(bytes) => Some(read(&bytes)),
                StoredReport::Refused(problem) => Some(with_problem(problem)),
            })
        });
        Ok(report.await?.unwrap_or_default())
    }
}

fn read(bytes: &[u8]) -> TestReport {
    parse_junit(bytes, &Limits::default()).unwrap_or_else(|error| with_problem(error.to_string()))
}

fn with_problem(problem: String) -> TestReport {
    TestReport { problems: vec![problem], ..TestReport::default() }
}

/// The system of this machine, as Nix names it.
pub fn host_system() -> Option<System> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    format!("{}-{os}", std::env::consts::ARCH).parse().ok()
}
