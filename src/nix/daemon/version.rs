//! Protocol versions, features and trust.
//!
//! Layer 0, pure.

use std::collections::BTreeSet;
use std::fmt;

/// A version of the daemon protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion {
    /// 1, ever since.
    pub major: u64,
    /// Grows with Nix.
    pub minor: u64,
}

impl ProtocolVersion {
    /// What this client claims to speak (Nix 2.24 and later).
    pub const CLAIMED: Self = Self { major: 1, minor: 38 };
    /// The oldest it talks to (Nix 2.8), the first with `BuildPathsWithResults`.
    pub const OLDEST: Self = Self { major: 1, minor: 34 };

    pub(super) fn from_wire(word: u64) -> Self {
        Self { major: word >> 8, minor: word & 0xff }
    }

    pub(super) fn to_wire(self) -> u64 {
        self.major << 8 | self.minor
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The feature under which build results name outputs without JSON.
pub(super) const OUTPUT_PATHS_FEATURE: &str = "realisation-with-path-not-hash";

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The lower of the two versions.
    pub version: ProtocolVersion,
    /// The features that both have; none before 1.38.
    pub features: BTreeSet<String>,
}

impl Protocol {
    /// A protocol without features.
    pub fn plain(minor: u64) -> Self {
        Self { version: ProtocolVersion { major: 1, minor }, features: BTreeSet::new() }
    }

    /// With one more feature.
    #[must_use]
    pub fn with_feature(mut self, feature: &str) -> Self {
        self.features.insert(feature.to_owned());
        self
    }

    pub(super) fn at_least(&self, minor: u64) -> bool {
        self.version >= ProtocolVersion { major: 1, minor }
    }

    pub(super) fn has_feature(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// Whether the daemon lets this client do what only administrators may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The daemon is too old to say.
    Unknown,
    /// It does.
    Trusted,
    /// It does not.
    NotTrusted,
}
