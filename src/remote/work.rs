//! What is to be made on a builder.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::nix::{
    Derivation, DrvKey, DrvPath, OutputName, StorePath, daemon::BuildMode, derivation::DerivationKind,
};

/// The outputs of a derivation that was made, by name.
pub type Outputs = BTreeMap<OutputName, StorePath>;

/// One derivation to make, with all that a builder must know of it.
#[derive(Debug, Clone)]
pub struct Task {
    /// The derivation, valid at the hub.
    pub drv: DrvPath,
    /// Its content.
    pub derivation: Arc<Derivation>,
    /// Its key, by which a store names what a content-addressed derivation made.
    pub key: DrvKey,
    /// What it reads, valid at the hub: its input sources, and those outputs of its input derivations that it uses.
    pub inputs: BTreeSet<StorePath>,
    /// Whether it is built, or built once more and compared.
    pub mode: TaskMode,
}

/// How a task is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskMode {
    /// Unless its outputs are valid there.
    #[default]
    Build,
    /// Once more beside its outputs, which are valid at the hub.
    Check,
}

impl Task {
    /// The outputs whose paths are known beforehand.
    pub fn known_outputs(&self) -> Outputs {
        self.derivation.outputs().filter_map(|(name, path)| Some((name, path?))).collect()
    }

    /// All outputs with their paths; none if some are known only after the build.
    pub fn outputs(&self) -> Option<Outputs> {
        self.derivation.outputs().map(|(name, path)| Some((name, path?))).collect()
    }

    /// What must be valid on a builder before it can begin.
    pub(super) fn needs(&self) -> BTreeSet<StorePath> {
        let mut needs = self.inputs.clone();
        if self.mode == TaskMode::Check {
            needs.extend(self.known_outputs().into_values());
        }
        needs
    }

    pub(super) fn build_mode(&self) -> BuildMode {
        match self.mode {
            TaskMode::Build => BuildMode::Normal,
            TaskMode::Check => BuildMode::Check,
        }
    }

    /// Whether it can be made from its own content and its inputs alone, without its `.drv` in the store.
    pub(super) fn stands_alone(&self) -> bool {
        match self.derivation.kind() {
            DerivationKind::InputAddressed | DerivationKind::FixedOutput => true,
            DerivationKind::FloatingOutput => !self.has_placeholders(),
            DerivationKind::Deferred | DerivationKind::Impure => false,
        }
    }

    /// Whether it can be made on another machine than the hub. What depends on paths that only the hub's Nix can work
    /// out is made there.
    pub fn can_travel(&self) -> bool {
        self.stands_alone() && !self.derivation.has_dynamic_inputs()
    }

    /// Whether its texts name outputs of floating inputs by placeholders, which only Nix replaces. Its own outputs
    /// are named so too, and these the builder replaces.
    fn has_placeholders(&self) -> bool {
        let drv = &self.derivation;
        let own: BTreeSet<Vec<u8>> =
            drv.outputs().map(|(name, _)| crate::nix::key::output_placeholder(&name).into_bytes()).collect();
        let args = drv.args().iter().map(String::as_bytes);
        let env = drv.env_entries().map(|(_, value)| value);
        let mut texts = args.chain(env).chain([drv.builder_exe().as_bytes()]);
        texts.any(|text| placeholders(text).any(|found| !own.contains(found)))
    }
}

/// Characters of a placeholder's hash.
const PLACEHOLDER: usize = 52;

/// What looks like a placeholder: a slash and a hash, and no more letters after it.
fn placeholders(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_digit =
        |byte: &u8| byte.is_ascii_digit() || (byte.is_ascii_lowercase() && !b"eotu".contains(byte));
    memchr::memchr_iter(b'/', text).filter_map(move |at| {
        let found = text.get(at..=at + PLACEHOLDER)?;
        let ends = !text.get(at + PLACEHOLDER + 1).is_some_and(is_digit);
        (ends && found[1..].iter().all(is_digit)).then_some(found)
    })
}
