//! What a client asks of a daemon for the rest of the connection.
//!
//! Layer 0, pure. A daemon that does not trust the client heeds only the time limits and known substituters.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::nix::wire::Encoder;

/// What to do with other builds when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Begin no more of them. What was never begun is reported as not run.
    Stop,
    /// Go on with those that do not depend on it.
    #[default]
    KeepGoing,
}

/// Whether substituters may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Substitution {
    /// They may.
    #[default]
    Allow,
    /// They may not.
    Forbid,
}

/// How much the daemon says of itself. Build logs come at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// Errors only.
    #[default]
    Error,
    /// Warnings too.
    Warn,
    /// What it does.
    Info,
    /// Everything that helps to find a mistake.
    Debug,
}

impl Verbosity {
    fn to_wire(self) -> u64 {
        match self {
            Self::Error => 0,
            Self::Warn => 1,
            Self::Info => 3,
            Self::Debug => 6,
        }
    }
}

/// Settings of a connection. The default builds one derivation at a time on all cores, without limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// What happens to the rest when a build fails. Default: it goes on.
    pub on_failure: OnFailure,
    /// Whether substituters may be asked. Default: yes.
    pub substitution: Substitution,
    /// How much the daemon says of itself. Default: errors.
    pub verbosity: Verbosity,
    /// Builds at a time *of this connection*; the daemon has no common limit. Default: 1.
    pub max_jobs: u64,
    /// Cores that each build may use; 0 is all. Default: 0.
    pub cores: u64,
    /// Wall-clock limit of one build. Whole seconds. Default: none.
    pub timeout: Option<Duration>,
    /// How long a build may say nothing. Whole seconds. Default: for ever.
    pub max_silent: Option<Duration>,
    /// Bytes of log after which a build is ended. Default: no limit.
    pub max_log_bytes: Option<u64>,
    /// Any other setting of nix.conf. Default: `builders` is empty, so that the daemon never builds elsewhere.
    pub overrides: BTreeMap<String, String>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::default(),
            substitution: Substitution::default(),
            verbosity: Verbosity::default(),
            max_jobs: 1,
            cores: 0,
            timeout: None,
            max_silent: None,
            max_log_bytes: None,
            overrides: BTreeMap::from([("builders".to_owned(), String::new())]),
        }
    }
}

/// In whole seconds, rounded up: 0 would mean no limit.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl ClientSettings {
    pub(super) fn encode(&self, out: &mut Encoder) {
        const VERBOSE_BUILD: u64 = 0;
        out.bool(false) // keep-failed
            .bool(self.on_failure == OnFailure::KeepGoing)
            .bool(false) // fallback
            .u64(self.verbosity.to_wire())
            .u64(self.max_jobs)
            .u64(self.max_silent.map_or(0, whole_seconds))
            .bool(true) // obsolete: use the build hook
            .u64(VERBOSE_BUILD)
            .u64(0) // obsolete: log type
            .u64(0) // obsolete: print build trace
            .u64(self.cores)
            .bool(self.substitution == Substitution::Allow);
        let mut overrides = self.overrides.clone();
        if let Some(timeout) = self.timeout {
            overrides.insert("timeout".to_owned(), whole_seconds(timeout).to_string());
        }
        if let Some(bytes) = self.max_log_bytes {
            overrides.insert("max-build-log-size".to_owned(), bytes.to_string());
        }
        out.count(overrides.len());
        for (key, value) in &overrides {
            out.text(key).text(value);
        }
    }
}
