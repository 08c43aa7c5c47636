//! What one asks a daemon for: a store path, or outputs of a derivation.
//!
//! Layer 0, pure.

use std::collections::BTreeSet;

use crate::nix::wire::WireError;
use crate::nix::{DrvPath, OutputName, StoreDir, StorePath};

/// Which outputs of a derivation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputsSpec {
    /// Every one.
    All,
    /// These.
    Names(BTreeSet<OutputName>),
}

/// Something to realise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DerivedPath {
    /// A plain store path, to be substituted if it is not valid.
    Opaque(StorePath),
    /// Outputs of a derivation.
    Built {
        /// The derivation.
        drv: DrvPath,
        /// Which of its outputs.
        outputs: OutputsSpec,
    },
}

impl DerivedPath {
    /// All outputs of a derivation.
    pub fn all_of(drv: DrvPath) -> Self {
        Self::Built { drv, outputs: OutputsSpec::All }
    }

    /// Some outputs of a derivation.
    pub fn outputs_of(drv: DrvPath, names: impl IntoIterator<Item = OutputName>) -> Self {
        Self::Built { drv, outputs: OutputsSpec::Names(names.into_iter().collect()) }
    }

    /// The store path at its root.
    pub fn base(&self) -> &StorePath {
        match self {
            Self::Opaque(path) => path,
            Self::Built { drv, .. } => drv.as_store_path(),
        }
    }

    /// The protocol's text: a path, then for a derivation `!` and `*` or the output names.
    pub fn to_wire(&self, store_dir: &StoreDir) -> String {
        match self {
            Self::Opaque(path) => store_dir.render_path(path),
            Self::Built { drv, outputs: OutputsSpec::All } => format!("{}!*", drv.absolute(store_dir)),
            Self::Built { drv, outputs: OutputsSpec::Names(names) } => {
                let names: Vec<_> = names.iter().map(OutputName::as_str).collect();
                format!("{}!{}", drv.absolute(store_dir), names.join(","))
            }
        }
    }

    /// Reads the protocol's text.
    pub fn from_wire(store_dir: &StoreDir, text: &str) -> Result<Self, WireError> {
        let error = || WireError::bad_value("derived path", text);
        let Some((path, outputs)) = text.rsplit_once('!') else {
            return store_dir.parse_path(text.as_bytes()).map(Self::Opaque).map_err(|_| error());
        };
        let drv = DrvPath::parse(store_dir, path).map_err(|_| error())?;
        if outputs == "*" {
            return Ok(Self::all_of(drv));
        }
        let names: Result<BTreeSet<_>, _> = outputs.split(',').map(OutputName::new).collect();
        Ok(Self::outputs_of(drv, names.map_err(|_| error())?))
    }
}
