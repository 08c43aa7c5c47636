//! Signing store paths as Nix does, and checking such signatures.
//!
//! Layer 0, pure. What is signed is the *fingerprint*: path, NAR hash, NAR size and references.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};

use super::{NarHash, StoreDir, StorePath};

pub use nix_narinfo::{NixSignature as Signature, SignatureError, TrustedPublicKey as PublicKey};

/// Why a text is no secret key. The text itself is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// The part before the colon is missing.
    #[error(
        "the secret key has no `NAME:` at its start; make one with `nix-store --generate-binary-cache-key`"
    )]
    NoName,
    /// The part after the colon is not base64.
    #[error("the secret key is not base64 after the colon")]
    NotBase64,
    /// It decodes to something else than a key pair.
    #[error("the secret key has {0} bytes; an Ed25519 key pair of 64 was expected")]
    Length(usize),
    /// The public half is not that of the secret half.
    #[error("the two halves of the secret key do not belong together")]
    Mismatch,
}

/// A secret key as written by `nix-store --generate-binary-cache-key`.
#[derive(Clone)]
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// Reads `NAME:BASE64`.
    pub fn parse(text: &str) -> Result<Self, SecretKeyError> {
        let (name, encoded) = text.trim().split_once(':').ok_or(SecretKeyError::NoName)?;
        if name.is_empty() {
            return Err(SecretKeyError::NoName);
        }
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretKeyError::NotBase64)?;
        let pair: [u8; 64] =
            bytes.try_into().map_err(|bytes: Vec<u8>| SecretKeyError::Length(bytes.len()))?;
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| SecretKeyError::Mismatch)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// The key that 32 random bytes make. Whoever knows them can sign.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Self {
        Self { name: name.to_owned(), key: SigningKey::from_bytes(&seed) }
    }

    /// `NAME:BASE64` with the secret, for the file that keeps it and nothing else.
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.name, STANDARD.encode(self.key.to_keypair_bytes()))
    }

    /// The key's name, which signatures carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half, as `trusted-public-keys` wants it when printed with [`public_key_text`].
    pub fn public_key(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs a fingerprint.
    pub fn sign(&self, fingerprint: &str) -> Signature {
        let bytes = self.key.sign(fingerprint.as_bytes()).to_bytes();
        Signature { key_name: self.name.clone(), encoded: STANDARD.encode(bytes) }
    }
}

/// A public key as `NAME:BASE64`.
pub fn public_key_text(key: &PublicKey) -> String {
    format!("{}:{}", key.name, STANDARD.encode(key.key.as_bytes()))
}

/// What is signed for a store path.
pub fn fingerprint(
    store_dir: &StoreDir,
    path: &StorePath,
    nar_hash: NarHash,
    nar_size: u64,
    references: &BTreeSet<StorePath>,
) -> String {
    let references: Vec<_> = references.iter().map(|path| store_dir.render_path(path)).collect();
    format!("1;{};{nar_hash};{nar_size};{}", store_dir.render_path(path), references.join(","))
}
