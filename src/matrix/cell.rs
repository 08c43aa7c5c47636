//! One point of the matrix and the derivation that proves it.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::axis::{Coordinates, LabelError, MatrixName, check_label, label};
use crate::nix::{DrvPath, System, SystemFeature};

label!(
    /// The attribute name of a cell below `checks.<system>`.
    CellName,
    "cell name"
);

impl CellName {
    /// A name for a text that is none, so that it can be shown: its harmless characters and an ellipsis.
    pub fn harmless(text: &str) -> Self {
        let readable: String = text.chars().filter(char::is_ascii_graphic).take(60).collect();
        Self(if readable.is_empty() { "(unreadable)".to_owned() } else { readable + "…" })
    }
}

/// What a project asserts of a cell. The derivation itself enforces it, so a cell that behaves as expected passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// The tests pass.
    #[default]
    Pass,
    /// The tests fail, and the project knows it.
    Fail,
    /// The project itself refuses these versions.
    Refused,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Refused => "refused",
        })
    }
}

/// What a cell says it needs; unset means the builder's usual share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Processor cores.
    pub cores: Option<u32>,
    /// Memory in MiB.
    pub memory: Option<u64>,
    /// Free disk in MiB.
    pub disk: Option<u64>,
}

impl Resources {
    /// Whether as much as `need` is there. What is not known is taken to be enough.
    pub fn covers(&self, need: &Self) -> bool {
        fn enough<T: PartialOrd>(have: Option<T>, need: Option<T>) -> bool {
            have.zip(need).is_none_or(|(have, need)| need <= have)
        }
        enough(self.cores, need.cores) && enough(self.memory, need.memory) && enough(self.disk, need.disk)
    }

    /// The larger of both, each resource by itself.
    #[must_use]
    pub fn largest(&self, other: &Self) -> Self {
        Self {
            cores: self.cores.max(other.cores),
            memory: self.memory.max(other.memory),
            disk: self.disk.max(other.disk),
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = self.cores.map(|cores| format!("{cores} cores"));
        let memory = self.memory.map(|mib| format!("{mib} MiB of memory"));
        let disk = self.disk.map(|mib| format!("{mib} MiB of disk"));
        let all: Vec<String> = [cores, memory, disk].into_iter().flatten().collect();
        f.pad(&all.join(", "))
    }
}

/// A cell of the matrix, as the flake states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Its attribute name.
    pub name: CellName,
    /// The system it is built for.
    pub system: System,
    /// The matrix it belongs to; `None` for a check made without croft's library.
    pub matrix: Option<MatrixName>,
    /// Its point in the matrix; empty for a check made without croft's library.
    pub axes: Coordinates,
    /// The derivation that proves it.
    pub drv: DrvPath,
    /// What the project asserts of it.
    pub expect: Expect,
    /// The longest it may build.
    pub timeout: Option<Duration>,
    /// What it needs of a builder.
    pub resources: Resources,
    /// Features its builder must have.
    pub features: BTreeSet<SystemFeature>,
    /// Whether it reaches outside its derivation (a hosted service, say), so that its result expires.
    pub external: bool,
}
