//! Every key of `croft.toml`, with its unit and default.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BuilderSettings, CacheSettings, FleetSettings, PoolSettings, Span};
use crate::nix::{System, SystemFeature};

/// The whole of `croft.toml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How Nix is reached.
    pub nix: NixSettings,
    /// Bounds on evaluation.
    pub eval: EvalSettings,
    /// Bounds on builds, and what this machine offers as a builder.
    pub build: BuildSettings,
    /// How long results stand.
    pub results: ResultSettings,
    /// What holds for all machines.
    pub fleet: FleetSettings,
    /// Builders that are always there.
    pub builder: Vec<BuilderSettings>,
    /// Machines that are launched when there is work.
    pub pool: Vec<PoolSettings>,
    /// The farm's binary cache.
    pub cache: CacheSettings,
}

/// `[nix]`: how Nix is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NixSettings {
    /// The `nix` program. Default: `nix` on PATH. Also `CROFT_NIX`.
    pub program: PathBuf,
    /// How the daemon of the local store is reached. Default: `auto`.
    pub daemon: DaemonAccess,
    /// The daemon's socket. Default: `/nix/var/nix/daemon-socket/socket`, below `root` if that is set.
    pub socket: Option<PathBuf>,
    /// Where the store's physical files are, if not at `/`: `<root>/nix/store`. Default: none.
    pub root: Option<PathBuf>,
}

/// How the daemon of the local store is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DaemonAccess {
    /// The socket if a daemon answers there; else a daemon of our own, if we may write the store.
    #[default]
    Auto,
    /// The socket only.
    Socket,
    /// Always a `nix-daemon --stdio` of our own.
    Stdio,
}

/// `[eval]`: bounds on evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSettings {
    /// How many evaluations run at once. Default: 0, one for each core.
    pub workers: u32,
    /// Memory of one evaluation, in MiB. Default: 4096.
    pub memory: u64,
    /// The longest one evaluation of a batch of cells may take. Default: 10m.
    pub timeout: Span,
    /// The most cells of one flake. Default: 50000.
    pub max_cells: u64,
    /// Whether evaluation may build (import from derivation). Default: deny.
    pub import_from_derivation: ImportFromDerivation,
}

/// Whether evaluation may build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImportFromDerivation {
    /// A cell that needs it is an evaluation error.
    #[default]
    Deny,
    /// Nix builds what evaluation asks for, outside croft's plan.
    Allow,
}

/// `[build]`: bounds on builds, and what this machine offers as a builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BuildSettings {
    /// How many builds run at once on this machine. Default: 0, one for each core.
    pub slots: u32,
    /// The longest a build may take, where the cell sets no timeout. Default: 2h.
    pub timeout: Span,
    /// The longest a build may be silent. Default: 30m.
    pub max_silent: Span,
    /// The most log one build may write, in MiB. Default: 256.
    pub max_log: u64,
    /// The most log that is kept of one build, in MiB: the head and the tail. Default: 64.
    pub keep_log: u64,
    /// How often a build is tried while infrastructure fails it. Default: 3.
    pub attempts: u32,
    /// Systems this machine builds for. Default: empty, what Nix says (`system` and `extra-platforms`).
    #[schemars(with = "Vec<String>")]
    pub systems: Vec<System>,
    /// Features this machine has. Default: empty, what Nix says (`system-features`).
    #[schemars(with = "Vec<String>")]
    pub features: Vec<SystemFeature>,
}

/// `[results]`: how long results stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResultSettings {
    /// How long a failure stands before it is tried again. Default: 14d.
    pub failure_ttl: Span,
    /// How long the result of an external cell stands. Default: 1d.
    pub external_ttl: Span,
}

impl NixSettings {
    /// Where the file at `path` physically is.
    pub fn physical(&self, path: &str) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }

    /// The store as `nix --store` takes it; none when it is the machine's own.
    pub fn store_uri(&self) -> Option<String> {
        self.root.as_ref().map(|root| format!("local?root={}", root.display()))
    }
}

impl Default for NixSettings {
    fn default() -> Self {
        Self { program: PathBuf::from("nix"), daemon: DaemonAccess::Auto, socket: None, root: None }
    }
}

impl Default for EvalSettings {
    fn default() -> Self {
        Self {
            workers: 0,
            memory: 4096,
            timeout: Span::seconds(600),
            max_cells: 50_000,
            import_from_derivation: ImportFromDerivation::Deny,
        }
    }
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            slots: 0,
            timeout: Span::seconds(2 * 3600),
            max_silent: Span::seconds(30 * 60),
            max_log: 256,
            keep_log: 64,
            attempts: 3,
            systems: Vec::new(),
            features: Vec::new(),
        }
    }
}

impl Default for ResultSettings {
    fn default() -> Self {
        Self { failure_ttl: Span::seconds(14 * 86_400), external_ttl: Span::seconds(86_400) }
    }
}
