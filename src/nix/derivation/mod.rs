//! Derivations: reading `.drv` files and asking them questions.
//!
//! Layer 0, pure. The grammar (`ATerm`) is parsed by `nix-derivation`; writing is our own so that the bytes of a
//! structured-attributes derivation come back unchanged. Absent: evaluation, and any knowledge of a store.

pub(super) mod aterm;
mod basic;
mod script;

use std::collections::BTreeSet;

use nix_derivation::{InputDerivation, Output};

use super::{DrvPath, NameError, OutputName, StoreDir, StorePath, System, SystemFeature};

pub use basic::{BasicDerivation, BasicOutput};

/// A `.drv` larger than this is refused: real ones are a few kilobytes.
pub const MAX_DRV_BYTES: usize = 64 << 20;

/// Why the bytes of a `.drv` are no derivation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerivationError {
    /// The file is absurdly large.
    #[error("derivation {drv} has {size} bytes; at most {MAX_DRV_BYTES} are read")]
    TooLarge {
        /// Whose file.
        drv: DrvPath,
        /// Its length.
        size: usize,
    },
    /// The bytes do not follow the grammar.
    #[error("reading derivation {drv}: {source}")]
    Syntax {
        /// Whose file.
        drv: DrvPath,
        /// Where and what.
        source: nix_derivation::Error,
    },
    /// An output or the system has a name that Nix could not use.
    #[error("reading derivation {drv}: {source}")]
    Name {
        /// Whose file.
        drv: DrvPath,
        /// Which name and why.
        source: NameError,
    },
    /// Something stands where a derivation path is needed.
    #[error("derivation {drv} names {input} as an input derivation, which is not a .drv")]
    Input {
        /// Whose file.
        drv: DrvPath,
        /// The odd input.
        input: StorePath,
    },
    /// The outputs contradict each other.
    #[error("derivation {drv} has inconsistent outputs: {reason}")]
    Outputs {
        /// Whose file.
        drv: DrvPath,
        /// What is inconsistent.
        reason: &'static str,
    },
}

/// How the output paths of a derivation come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DerivationKind {
    /// The paths follow from the inputs and are known.
    InputAddressed,
    /// The paths follow from inputs of which some are not known before they are built.
    Deferred,
    /// One output with a declared content hash.
    FixedOutput,
    /// The path follows from the content that the build makes.
    FloatingOutput,
    /// As floating, and the build may differ every time.
    Impure,
}

/// One parsed derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    path: DrvPath,
    system: System,
    kind: DerivationKind,
    inner: nix_derivation::Derivation,
}

impl Derivation {
    /// Parses the bytes of a `.drv`.
    ///
    /// The grammar, the names and the shape of the outputs are checked. That the bytes belong to `path` is not:
    /// see [`Derivation::computed_path`].
    pub fn parse(store_dir: &StoreDir, path: &DrvPath, bytes: &[u8]) -> Result<Self, DerivationError> {
        let drv = || path.clone();
        if bytes.len() > MAX_DRV_BYTES {
            return Err(DerivationError::TooLarge { drv: drv(), size: bytes.len() });
        }
        let inner = nix_derivation::Derivation::from_aterm_bytes_in(bytes, path.name(), store_dir.clone())
            .map_err(|source| DerivationError::Syntax { drv: drv(), source })?;
        let system =
            System::new(inner.system()).map_err(|source| DerivationError::Name { drv: drv(), source })?;
        for name in inner.outputs().keys() {
            OutputName::new(name).map_err(|source| DerivationError::Name { drv: drv(), source })?;
        }
        if let Some(input) = inner.input_derivations().keys().find(|input| !input.is_derivation()) {
            return Err(DerivationError::Input { drv: drv(), input: input.clone() });
        }
        let kind = kind_of(&inner).map_err(|reason| DerivationError::Outputs { drv: drv(), reason })?;
        Ok(Self { path: drv(), system, kind, inner })
    }

    /// The path it was parsed for.
    pub fn path(&self) -> &DrvPath {
        &self.path
    }

    /// Its name, without `.drv`.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The store directory its paths are in.
    pub fn store_dir(&self) -> &StoreDir {
        self.inner.store_dir()
    }

    /// What it is built for.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// The program that builds it (the `builder` field).
    pub fn builder_exe(&self) -> &str {
        self.inner.builder()
    }

    /// The program's arguments.
    pub fn args(&self) -> &[String] {
        self.inner.arguments()
    }

    /// One environment variable; bytes, because Nix allows any. Structured attributes are under `__json`.
    pub fn env(&self, key: &str) -> Option<&[u8]> {
        match self.inner.structured_attrs() {
            Some(attrs) if key == "__json" => Some(attrs.raw_json()),
            Some(_) | None => self.inner.environment().get(key).map(Vec::as_slice),
        }
    }

    /// The environment in order, `__json` included.
    pub fn env_entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        aterm::environment(&self.inner)
    }

    /// A top-level structured attribute.
    pub fn structured_attr(&self, key: &str) -> Option<&serde_json::Value> {
        self.inner.structured_attrs().and_then(|attrs| attrs.get(key))
    }

    /// How its output paths come about.
    pub fn kind(&self) -> DerivationKind {
        self.kind
    }

    /// Whether it is a download or the like: one output with a declared content hash.
    pub fn is_fixed_output(&self) -> bool {
        self.kind == DerivationKind::FixedOutput
    }

    /// Output names with their paths; none for a path that is known only after the build.
    pub fn outputs(&self) -> impl Iterator<Item = (OutputName, Option<StorePath>)> {
        let (store_dir, name) = (self.inner.store_dir(), self.inner.name());
        self.inner.outputs().iter().filter_map(move |(output_name, output)| {
            // Both were checked by `parse`, so nothing is ever left out here.
            let path = output.path_in(store_dir, name, output_name).ok()?;
            Some((OutputName::new(output_name).ok()?, path))
        })
    }

    /// The path of one output, if it is known.
    pub fn output_path(&self, output_name: &OutputName) -> Option<StorePath> {
        let output = self.inner.outputs().get(output_name.as_str())?;
        output.path_in(self.inner.store_dir(), self.inner.name(), output_name.as_str()).ok()?
    }

    /// The derivations it needs, with the outputs it needs of each.
    pub fn input_drvs(&self) -> impl ExactSizeIterator<Item = (DrvPath, &BTreeSet<String>)> {
        self.inner.input_derivations().iter().map(|(path, input)| (drv_path(path), input.outputs()))
    }

    /// The plain store paths it needs.
    pub fn input_srcs(&self) -> &BTreeSet<StorePath> {
        self.inner.input_sources()
    }

    /// Whether it depends on a derivation that another derivation makes (dynamic derivations).
    pub fn has_dynamic_inputs(&self) -> bool {
        self.inner.input_derivations().values().any(InputDerivation::is_dynamic)
    }

    /// The features a builder must have, from the environment or from structured attributes.
    pub fn required_system_features(&self) -> Result<BTreeSet<SystemFeature>, NameError> {
        const KEY: &str = "requiredSystemFeatures";
        if let Some(value) = self.structured_attr(KEY) {
            let features = value.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
            return features.map(SystemFeature::new).collect();
        }
        let bytes = self.inner.environment().get(KEY).map_or(&[][..], Vec::as_slice);
        let text = str::from_utf8(bytes).unwrap_or("\u{fffd}");
        text.split_ascii_whitespace().map(SystemFeature::new).collect()
    }

    /// The canonical bytes of the `.drv`.
    pub fn to_aterm(&self) -> Vec<u8> {
        aterm::write(&self.inner, &aterm::Form::Full).into_text()
    }

    /// The path that the content has, which is [`Derivation::path`] unless the file was tampered with.
    pub fn computed_path(&self) -> Option<DrvPath> {
        let references = self.inner.input_derivations().keys().chain(self.inner.input_sources());
        let file_name = format!("{}.drv", self.name());
        let path = self.store_dir().build_text_path(&file_name, &self.to_aterm(), references).ok()?;
        DrvPath::new(path).ok()
    }

    /// What the `.drv` refers to: its input derivations and input sources.
    pub fn references(&self) -> BTreeSet<StorePath> {
        self.inner.input_derivations().keys().chain(self.inner.input_sources()).cloned().collect()
    }

    pub(super) fn inner(&self) -> &nix_derivation::Derivation {
        &self.inner
    }
}

fn drv_path(path: &StorePath) -> DrvPath {
    // `parse` refuses any other input.
    DrvPath::assume(path.clone())
}

fn kind_of(drv: &nix_derivation::Derivation) -> Result<DerivationKind, &'static str> {
    let mut kinds = drv.outputs().values().map(|output| match output {
        Output::InputAddressed { .. } => DerivationKind::InputAddressed,
        Output::Fixed { .. } => DerivationKind::FixedOutput,
        Output::Floating { .. } => DerivationKind::FloatingOutput,
        Output::Deferred => DerivationKind::Deferred,
        Output::Impure { .. } => DerivationKind::Impure,
    });
    let first = kinds.next().ok_or("there are none")?;
    if kinds.any(|kind| kind != first) {
        return Err("they are of different kinds");
    }
    if first == DerivationKind::FixedOutput
        && (drv.outputs().len() != 1 || !drv.outputs().contains_key("out"))
    {
        return Err("a fixed-output derivation has exactly one output, called out");
    }
    Ok(first)
}
