//! Hashes in the notations of Nix: nix32, base16 and SRI.
//!
//! Layer 0, pure. [`NixHash`] is any algorithm; [`NarHash`] is the SHA-256 that identifies a NAR.

use std::fmt;
use std::str::FromStr;

pub use nix_derivation::{CAHash, ContentAddressMethod, HashAlgorithm, NixHash};
use sha2::{Digest as _, Sha256};

/// A text that is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not {expected}")]
pub struct HashError {
    shown: String,
    expected: &'static str,
}

impl HashError {
    pub(super) fn new(text: &str, expected: &'static str) -> Self {
        Self { shown: text.chars().take(120).collect(), expected }
    }
}

/// Nix's base 32: 52 characters for a SHA-256.
pub fn to_nix32(bytes: &[u8]) -> String {
    nix_derivation::nixbase32::encode(bytes)
}

/// Reads Nix's base 32.
pub fn from_nix32(text: &str) -> Result<Vec<u8>, HashError> {
    nix_derivation::nixbase32::decode(text.as_bytes()).map_err(|_| HashError::new(text, "a nix32 text"))
}

/// Lower-case hexadecimal.
pub fn to_base16(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}

/// The SHA-256 of a NAR. Prints as `sha256:<nix32>`, the form of narinfo files and fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NarHash([u8; 32]);

impl NarHash {
    /// Takes a digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Hashes a NAR that is in memory.
    pub fn of(nar: &[u8]) -> Self {
        Self(Sha256::digest(nar).into())
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Bare hexadecimal, the form of the daemon protocol.
    pub fn to_base16(self) -> String {
        to_base16(&self.0)
    }

    /// `sha256-<base64>`.
    pub fn to_sri(self) -> String {
        NixHash::Sha256(self.0).to_sri_string()
    }
}

impl fmt::Display for NarHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", to_nix32(&self.0))
    }
}

impl FromStr for NarHash {
    type Err = HashError;

    /// Reads `sha256:` with any encoding, SRI, or bare base16 and nix32.
    fn from_str(text: &str) -> Result<Self, HashError> {
        let error = || HashError::new(text, "a SHA-256 in base16, nix32, base64 or SRI form");
        let full = if text.contains([':', '-']) { text.to_owned() } else { format!("sha256:{text}") };
        match NixHash::parse(&full) {
            Ok(NixHash::Sha256(digest)) => Ok(Self(digest)),
            Ok(_) | Err(_) => Err(error()),
        }
    }
}

impl TryFrom<&NixHash> for NarHash {
    type Error = HashError;

    fn try_from(hash: &NixHash) -> Result<Self, HashError> {
        match hash {
            NixHash::Sha256(digest) => Ok(Self(*digest)),
            other @ (NixHash::Blake3(_) | NixHash::Md5(_) | NixHash::Sha1(_) | NixHash::Sha512(_)) => {
                Err(HashError::new(&other.to_sri_string(), "a SHA-256"))
            }
        }
    }
}

impl From<NarHash> for NixHash {
    fn from(hash: NarHash) -> NixHash {
        NixHash::Sha256(hash.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values printed by `nix hash` of Nix 2.8 for the SHA-256 of "abc".
    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NIX32: &str = "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
    const SRI: &str = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

    #[test]
    fn all_notations_agree_with_nix() {
        let hash = NarHash::of(b"abc");
        assert_eq!(hash.to_base16(), HEX);
        assert_eq!(hash.to_string(), format!("sha256:{NIX32}"));
        assert_eq!(hash.to_sri(), SRI);
        for form in [HEX, NIX32, SRI, &format!("sha256:{HEX}"), &format!("sha256:{NIX32}")] {
            assert_eq!(form.parse::<NarHash>().unwrap(), hash, "{form}");
        }
        assert_eq!(from_nix32(NIX32).unwrap(), hash.as_bytes());
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "sha256:", "sha1:abc", &HEX[1..], "sha256-", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            assert!(bad.parse::<NarHash>().is_err(), "{bad:?}");
        }
        assert!(from_nix32("eeee").is_err());
    }
}
