//! What a store knows of a valid path.
//!
//! Layer 0.

use std::collections::BTreeSet;

use tokio::io::AsyncRead;

use crate::nix::wire::{Encoder, Reader, WireError};
use crate::nix::{NarHash, StoreDir, StorePath, signature};

/// A store path with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// The derivation that made it, if known.
    pub deriver: Option<StorePath>,
    /// Hash of its NAR.
    pub nar_hash: NarHash,
    /// What it refers to; may contain itself.
    pub references: BTreeSet<StorePath>,
    /// When it was registered, in seconds since 1970.
    pub registration_time: u64,
    /// Length of its NAR in bytes.
    pub nar_size: u64,
    /// Whether that store built it itself.
    pub ultimate: bool,
    /// Signatures as `NAME:BASE64`.
    pub signatures: BTreeSet<String>,
    /// The content address, if it has one.
    pub ca: Option<String>,
}

impl PathInfo {
    /// A path with nothing known but its content.
    pub fn new(path: StorePath, nar_hash: NarHash, nar_size: u64) -> Self {
        Self {
            path,
            deriver: None,
            nar_hash,
            references: BTreeSet::new(),
            registration_time: 0,
            nar_size,
            ultimate: false,
            signatures: BTreeSet::new(),
            ca: None,
        }
    }

    /// What a signature of this path covers.
    pub fn fingerprint(&self, store_dir: &StoreDir) -> String {
        signature::fingerprint(store_dir, &self.path, self.nar_hash, self.nar_size, &self.references)
    }

    /// Writes path and metadata.
    pub fn encode(&self, store_dir: &StoreDir, out: &mut Encoder) {
        out.path(store_dir, &self.path);
        self.encode_unkeyed(store_dir, out);
    }

    /// Writes the metadata.
    pub fn encode_unkeyed(&self, store_dir: &StoreDir, out: &mut Encoder) {
        out.optional_path(store_dir, self.deriver.as_ref())
            .text(&self.nar_hash.to_base16())
            .paths(store_dir, &self.references)
            .u64(self.registration_time)
            .u64(self.nar_size)
            .bool(self.ultimate);
        out.count(self.signatures.len());
        for signature in &self.signatures {
            out.text(signature);
        }
        out.text(self.ca.as_deref().unwrap_or_default());
    }

    /// Reads path and metadata.
    pub async fn decode<R: AsyncRead + Unpin>(
        store_dir: &StoreDir,
        reader: &mut Reader<R>,
    ) -> Result<Self, WireError> {
        let path = reader.path(store_dir, "store path").await?;
        Self::decode_unkeyed(store_dir, path, reader).await
    }

    /// Reads the metadata of a path.
    pub async fn decode_unkeyed<R: AsyncRead + Unpin>(
        store_dir: &StoreDir,
        path: StorePath,
        reader: &mut Reader<R>,
    ) -> Result<Self, WireError> {
        let deriver = reader.optional_path(store_dir, "deriver").await?;
        let nar_hash = reader.text("NAR hash").await?;
        let nar_hash = nar_hash.parse().map_err(|_| WireError::bad_value("NAR hash", nar_hash))?;
        Ok(Self {
            path,
            deriver,
            nar_hash,
            references: reader.paths(store_dir, "references").await?,
            registration_time: reader.u64("registration time").await?,
            nar_size: reader.u64("NAR size").await?,
            ultimate: reader.bool("ultimate flag").await?,
            signatures: reader.texts("signatures").await?.into_iter().collect(),
            ca: Some(reader.text("content address").await?).filter(|ca| !ca.is_empty()),
        })
    }
}
