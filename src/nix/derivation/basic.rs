//! A derivation as the daemon's `BuildDerivation` wants it: inputs already resolved to paths.
//!
//! Layer 0, pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Derivation, DerivationKind, aterm};
use crate::nix::{StorePath, System};

/// One output: path, method with algorithm, and hash, each empty where it is not known or does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicOutput {
    /// Absolute path.
    pub path: String,
    /// For content-addressed outputs, such as `r:sha256`.
    pub method: String,
    /// Base16, or `impure`.
    pub hash: String,
}

/// A derivation without input derivations: these are replaced by the output paths that it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicDerivation {
    /// Outputs by name.
    pub outputs: BTreeMap<String, BasicOutput>,
    /// Everything the build may read.
    pub input_srcs: BTreeSet<StorePath>,
    /// What it is built for.
    pub system: System,
    /// The program that builds it.
    pub builder_exe: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, Vec<u8>>,
    /// How output paths come about; an untrusted client may not build input-addressed ones this way.
    pub kind: DerivationKind,
}

impl Derivation {
    /// The form for `BuildDerivation`. `input_paths` are the output paths of the input derivations that it uses;
    /// if one of those is floating, its placeholder must have been rewritten before, which is not done here.
    pub fn to_basic(&self, input_paths: impl IntoIterator<Item = StorePath>) -> BasicDerivation {
        let drv = self.inner();
        let outputs = drv.outputs().iter().map(|(name, output)| {
            let [path, method, hash] = aterm::output_fields(drv, name, output);
            (name.clone(), BasicOutput { path, method, hash })
        });
        BasicDerivation {
            outputs: outputs.collect(),
            input_srcs: self.input_srcs().iter().cloned().chain(input_paths).collect(),
            system: self.system().clone(),
            builder_exe: self.builder_exe().to_owned(),
            args: self.args().to_vec(),
            env: self.env_entries().map(|(key, value)| (key.to_owned(), value.to_vec())).collect(),
            kind: self.kind(),
        }
    }
}
