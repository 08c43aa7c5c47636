//! How a build ended.
//!
//! Layer 0. The status says what Nix concluded; whether it is the builder's or the machine's fault is not decided
//! here. The same cause has different statuses in different versions: a wrong system or a missing feature is
//! [`FailureStatus::Misc`] in Nix 2.8 and 2.26 and [`FailureStatus::InputRejected`] in 2.34.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::AsyncRead;

use super::version::{OUTPUT_PATHS_FEATURE, Protocol};
use crate::nix::wire::{Reader, WireError};
use crate::nix::{OutputName, StoreDir, StorePath};

/// Ways of ending well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SuccessStatus {
    /// The builder ran.
    Built,
    /// The outputs were fetched from a substituter.
    Substituted,
    /// The outputs were there.
    AlreadyValid,
    /// It came down to another derivation whose outputs were there.
    ResolvesToAlreadyValid,
}

/// Ways of ending badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureStatus {
    /// The builder exited non-zero or was killed.
    Permanent,
    /// The derivation cannot be built here.
    InputRejected,
    /// An output is missing or has the wrong hash.
    OutputRejected,
    /// Trying again may help.
    Transient,
    /// A failure remembered by very old versions.
    Cached,
    /// The time limit, or the limit of silence, was reached.
    TimedOut,
    /// Anything else.
    Misc,
    /// A derivation that it needs failed.
    DependencyFailed,
    /// The log grew above its limit.
    LogLimitExceeded,
    /// In check mode: the output differs from the valid one.
    NotDeterministic,
    /// Nothing may be built and nothing could be substituted.
    NoSubstituters,
    /// A number that this client does not know.
    Unknown(u64),
}

/// The end of one requested build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildOutcome {
    /// The outputs are valid.
    Success {
        /// How.
        status: SuccessStatus,
        /// Their paths by name; may lack some where Nix does not say.
        outputs: BTreeMap<OutputName, StorePath>,
    },
    /// They are not.
    Failure {
        /// Why.
        status: FailureStatus,
        /// Nix's words; bytes with ANSI codes.
        message: Vec<u8>,
    },
    /// It was never begun, because something else failed first and the daemon was not to keep going.
    NotRun,
}

/// What the daemon tells about the time it took. Failed builds often have none: keep a clock of your own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildTimes {
    /// How often it was built.
    pub times_built: u64,
    /// Start, in seconds since 1970.
    pub start: Option<u64>,
    /// End, in seconds since 1970.
    pub stop: Option<u64>,
    /// CPU time of the builder in user mode; only where Nix uses cgroups.
    pub cpu_user: Option<Duration>,
    /// CPU time of the builder in the kernel; only where Nix uses cgroups.
    pub cpu_system: Option<Duration>,
}

/// How one build ended, with times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildResult {
    /// Well, badly, or not at all.
    pub outcome: BuildOutcome,
    /// How long it took.
    pub times: BuildTimes,
}

impl BuildResult {
    /// For what the daemon left out of its answer.
    pub(super) fn not_run() -> Self {
        Self { outcome: BuildOutcome::NotRun, times: BuildTimes::default() }
    }

    /// Whether the outputs are valid.
    pub fn is_success(&self) -> bool {
        matches!(self.outcome, BuildOutcome::Success { .. })
    }

    /// Reads a result in the layout of the given protocol, 1.29 or newer.
    pub async fn decode<R: AsyncRead + Unpin>(
        protocol: &Protocol,
        store_dir: &StoreDir,
        reader: &mut Reader<R>,
    ) -> Result<Self, WireError> {
        let code = reader.u64("build status").await?;
        let message = reader.bytes("build message").await?;
        let mut times = BuildTimes { times_built: reader.u64("times built").await?, ..BuildTimes::default() };
        // The flag repeats what status 12 says.
        reader.bool("non-determinism flag").await?;
        times.start = Some(reader.u64("start time").await?).filter(|time| *time != 0);
        times.stop = Some(reader.u64("stop time").await?).filter(|time| *time != 0);
        if protocol.at_least(37) {
            times.cpu_user = optional_micros(reader).await?;
            times.cpu_system = optional_micros(reader).await?;
        }
        let outputs = decode_outputs(protocol, store_dir, reader).await?;
        Ok(Self { outcome: outcome(code, message, outputs), times })
    }
}

fn outcome(code: u64, message: Vec<u8>, outputs: BTreeMap<OutputName, StorePath>) -> BuildOutcome {
    let success = |status| BuildOutcome::Success { status, outputs };
    match code {
        0 => success(SuccessStatus::Built),
        1 => success(SuccessStatus::Substituted),
        2 => success(SuccessStatus::AlreadyValid),
        13 => success(SuccessStatus::ResolvesToAlreadyValid),
        // Nix 2.8 and 2.26 answer this way for what they never began.
        9 if message.is_empty() => BuildOutcome::NotRun,
        _ => BuildOutcome::Failure { status: failure(code), message },
    }
}

fn failure(code: u64) -> FailureStatus {
    match code {
        3 => FailureStatus::Permanent,
        4 => FailureStatus::InputRejected,
        5 => FailureStatus::OutputRejected,
        6 => FailureStatus::Transient,
        7 => FailureStatus::Cached,
        8 => FailureStatus::TimedOut,
        9 => FailureStatus::Misc,
        10 => FailureStatus::DependencyFailed,
        11 => FailureStatus::LogLimitExceeded,
        12 => FailureStatus::NotDeterministic,
        14 => FailureStatus::NoSubstituters,
        other => FailureStatus::Unknown(other),
    }
}

async fn optional_micros<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
) -> Result<Option<Duration>, WireError> {
    if !reader.bool("CPU time tag").await? {
        return Ok(None);
    }
    Ok(Some(Duration::from_micros(reader.u64("CPU time").await?)))
}

async fn decode_outputs<R: AsyncRead + Unpin>(
    protocol: &Protocol,
    store_dir: &StoreDir,
    reader: &mut Reader<R>,
) -> Result<BTreeMap<OutputName, StorePath>, WireError> {
    let mut outputs = BTreeMap::new();
    for _ in 0..reader.count("built outputs").await? {
        let key = reader.text("built output").await?;
        let path = if protocol.has_feature(OUTPUT_PATHS_FEATURE) {
            let path = reader.path(store_dir, "output path").await?;
            reader.texts("realisation signatures").await?;
            path
        } else {
            realisation_path(store_dir, &reader.bytes("realisation").await?)?
        };
        // `sha256:<hex>!out` in the older layout.
        let name = key.rsplit_once('!').map_or(key.as_str(), |(_, name)| name);
        let name = OutputName::new(name).map_err(|_| WireError::bad_value("built output", &key))?;
        outputs.insert(name, path);
    }
    Ok(outputs)
}

/// Of the JSON record only the output's path matters; newer daemons fill the rest with dummies.
fn realisation_path(store_dir: &StoreDir, json: &[u8]) -> Result<StorePath, WireError> {
    #[derive(serde::Deserialize)]
    struct Realisation {
        #[serde(rename = "outPath")]
        out_path: String,
    }
    let error = || WireError::bad_value("realisation", json);
    let record: Realisation = serde_json::from_slice(json).map_err(|_| error())?;
    let text = record.out_path.as_bytes();
    let path =
        if text.starts_with(b"/") { store_dir.parse_path(text) } else { StorePath::from_basename(text) };
    path.map_err(|_| error())
}
