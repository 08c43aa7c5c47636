//! The key of a derivation: the hash with which Nix tells derivations apart *modulo fixed-output inputs*.
//!
//! Layer 0, pure. For an input-addressed derivation the key decides the output paths; for a fixed-output derivation
//! it follows from its content hash and output path alone, so that a changed URL changes no key downstream. Floating
//! and deferred derivations are keyed by the same construction. The one departure from Nix: it gives all impure
//! derivations one constant, and here each has its own key.

mod drv_key;

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::derivation::aterm::{self, Form, ModuloInputs};
use super::{Derivation, DrvPath, OutputName, StorePath};
use crate::nix::derivation::DerivationKind;

pub use drv_key::{DrvKey, DrvKeyError};

/// Why a derivation could not be keyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Inputs must be keyed before what depends on them.
    #[error("derivation {drv} was to be keyed before its input {input}; key inputs first")]
    MissingInput {
        /// What was to be keyed.
        drv: DrvPath,
        /// The input without a key.
        input: DrvPath,
    },
    /// Experimental dynamic derivations have inputs that do not exist yet.
    #[error(
        "derivation {drv} depends on the outputs of a derivation that is itself built (dynamic derivations), which croft cannot key"
    )]
    DynamicInputs {
        /// What was to be keyed.
        drv: DrvPath,
    },
    /// A fixed-output derivation without a path for its output.
    #[error("fixed-output derivation {drv} has no valid output path")]
    NoOutputPath {
        /// What was to be keyed.
        drv: DrvPath,
    },
}

/// What is remembered of a derivation.
#[derive(Debug, Clone, Copy)]
struct Keyed {
    key: DrvKey,
    /// How the derivation counts as an input of others.
    as_input: [u8; 32],
}

/// Keys of derivations, each computed once. Feed it in topological order, inputs first.
#[derive(Debug, Clone, Default)]
pub struct KeyTable {
    keyed: HashMap<DrvPath, Keyed>,
}

impl KeyTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Computes, remembers and returns the key of a derivation whose inputs were given before.
    pub fn key(&mut self, drv: &Derivation) -> Result<DrvKey, KeyError> {
        if let Some(keyed) = self.keyed.get(drv.path()) {
            return Ok(keyed.key);
        }
        let keyed = self.compute(drv)?;
        self.keyed.insert(drv.path().clone(), keyed);
        Ok(keyed.key)
    }

    /// A key computed before.
    pub fn get(&self, path: &DrvPath) -> Option<DrvKey> {
        self.keyed.get(path).map(|keyed| keyed.key)
    }

    /// How many derivations it knows.
    pub fn len(&self) -> usize {
        self.keyed.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.keyed.is_empty()
    }

    fn compute(&self, drv: &Derivation) -> Result<Keyed, KeyError> {
        if drv.kind() == DerivationKind::FixedOutput {
            let hash = fixed_output_hash(drv)?;
            return Ok(Keyed { key: DrvKey::new(hash), as_input: hash });
        }
        let inputs = self.modulo_inputs(drv)?;
        let written = aterm::write(drv.inner(), &Form::Modulo(&inputs));
        let masked = written.masked().fold(Sha256::new(), Sha256::chain_update).finalize();
        Ok(Keyed { key: DrvKey::new(masked.into()), as_input: sha256(written.text()) })
    }

    fn modulo_inputs<'d>(&self, drv: &'d Derivation) -> Result<ModuloInputs<'d>, KeyError> {
        if drv.has_dynamic_inputs() {
            return Err(KeyError::DynamicInputs { drv: drv.path().clone() });
        }
        let mut inputs = ModuloInputs::new();
        for (input, outputs) in drv.input_drvs() {
            let Some(keyed) = self.keyed.get(&input) else {
                return Err(KeyError::MissingInput { drv: drv.path().clone(), input });
            };
            inputs.entry(keyed.as_input).or_default().extend(outputs.iter().map(String::as_str));
        }
        Ok(inputs)
    }
}

fn fixed_output_hash(drv: &Derivation) -> Result<[u8; 32], KeyError> {
    let fields = drv.inner().outputs().get("out").map(|out| aterm::output_fields(drv.inner(), "out", out));
    match fields {
        Some([path, method, hash]) if !path.is_empty() => {
            Ok(sha256(format!("fixed:out:{method}:{hash}:{path}").as_bytes()))
        }
        Some(_) | None => Err(KeyError::NoOutputPath { drv: drv.path().clone() }),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The path that an input-addressed derivation with this key gives to an output; none if the names cannot be one.
pub fn output_path(drv: &Derivation, key: DrvKey, output_name: &OutputName) -> Option<StorePath> {
    let hash = nix_derivation::DerivationModuloHash::new(*key.as_bytes());
    drv.store_dir().build_output_path(hash, output_name.as_str(), drv.name()).ok()
}

/// What stands in a derivation for the path of its own output while that is not known.
pub fn output_placeholder(output_name: &OutputName) -> String {
    format!("/{}", super::hash::to_nix32(&sha256(format!("nix-output:{output_name}").as_bytes())))
}
