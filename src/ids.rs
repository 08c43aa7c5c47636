//! The one registry of identifiers. Base layer: no I/O.
//!
//! Every identifier is a UUIDv7: unique without a coordinator, and sorted by the time it was made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;

/// A text that is not an identifier of the kind wanted.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a {kind} id: expected a UUID such as 019ab3c2-7f2e-7c1a-9d0e-2f6b8c4d1e5a")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, made at `now`.
            pub fn new(now: Timestamp) -> Self {
                let millis = now.as_millis();
                let stamp = uuid::Timestamp::from_unix(
                    uuid::NoContext,
                    millis / 1000,
                    u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
                );
                Self(Uuid::new_v7(stamp))
            }

            /// The sixteen bytes of the UUID.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError { kind: $kind, text: text.to_owned() })
            }
        }
    };
}

id!(
    /// All that one trigger started.
    RunId,
    "run"
);
id!(
    /// One derivation made once for our use; it has attempts.
    BuildId,
    "build"
);
id!(
    /// One try of a build on one machine; it owns a log.
    AttemptId,
    "attempt"
);
id!(
    /// One machine and its life, from the intent to launch it; also a builder that is always there.
    MachineId,
    "machine"
);
id!(
    /// One farm: everything that shares a database. Tags what a provider launches for it.
    FarmId,
    "farm"
);
id!(
    /// One croft process that may own builds: see `db::owner`.
    OwnerId,
    "owner"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let early = RunId::new(Timestamp::from_millis(1_000));
        let late = RunId::new(Timestamp::from_millis(2_000));
        assert!(early < late);
        assert_eq!(early.to_string().parse::<RunId>().unwrap(), early);
        assert!("nonsense".parse::<RunId>().unwrap_err().to_string().contains("not a run id"));
    }
}
