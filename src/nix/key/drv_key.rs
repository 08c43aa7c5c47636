//! The key as a value.
//!
//! Layer 0, pure.

use std::fmt;
use std::str::FromStr;

use crate::nix::hash::{from_nix32, to_nix32};

/// A text that is no derivation key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a derivation key: 52 characters of nix32 were expected")]
pub struct DrvKeyError(String);

/// What tells one derivation from another; see the module. Printed and stored as 52 characters of nix32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrvKey([u8; 32]);

impl DrvKey {
    /// Takes the 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for DrvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_nix32(&self.0))
    }
}

impl fmt::Debug for DrvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DrvKey {
    type Err = DrvKeyError;

    fn from_str(text: &str) -> Result<Self, DrvKeyError> {
        let bytes = from_nix32(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| DrvKeyError(text.chars().take(80).collect()))
    }
}

impl serde::Serialize for DrvKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DrvKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_nix32() {
        let key = DrvKey::new([7; 32]);
        let text = key.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse::<DrvKey>().unwrap(), key);
        assert_eq!(serde_json::from_str::<DrvKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        for bad in ["", "e", &text[1..], &format!("{text}0"), &text.to_uppercase()] {
            assert!(bad.parse::<DrvKey>().is_err(), "{bad:?}");
        }
    }
}
