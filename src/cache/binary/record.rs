//! A narinfo, hostile until it is checked.

use super::object::ObjectName;
use crate::nix::{
    NarHash, StoreDir, StorePath,
    daemon::PathInfo,
    narinfo::{self, Compression, NarInfo, ParseError},
    signature::PublicKey,
};

/// Why a record is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is larger than any record.
    #[error("it has {0} bytes")]
    TooLarge(u64),
    /// It is malformed, or for another store directory.
    #[error("{0}")]
    Malformed(String),
    /// It is the record of another path.
    #[error("it is that of {0}")]
    OtherPath(StorePath),
    /// Its NAR would be outside the cache.
    #[error("its URL {0} leads out of the cache")]
    Url(String),
    /// None of the trusted keys has signed it.
    #[error(
        "no trusted key has signed it; it is signed by {0}. Add that key to cache.trusted_keys if you trust it"
    )]
    Untrusted(String),
    /// Nix would need a program for it that croft has not.
    #[error("its NAR is compressed with {0}; croft reads zstd, gzip and none")]
    Compression(String),
}

/// How a NAR is packed, of what croft reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Zstd,
    Gzip,
}

/// A record whose form, path, URL and signature were found right. What it says of the NAR still has to be compared
/// with the NAR.
#[derive(Debug, Clone)]
pub struct Record {
    /// What the record says of the path; signatures included.
    pub info: PathInfo,
    /// Where the NAR is.
    pub nar: ObjectName,
    /// The length of the packed NAR in bytes, if it is told. No signature covers it.
    pub file_size: Option<u64>,
    pub(super) narinfo: NarInfo,
}

impl Record {
    /// Checks the record of a path: `wanted` if it is known, and in any case one with the hash part of `name`.
    pub(super) fn check(
        store_dir: &StoreDir,
        name: &ObjectName,
        wanted: Option<&StorePath>,
        bytes: &[u8],
        trusted: &[PublicKey],
    ) -> Result<Self, RecordError> {
        let narinfo = NarInfo::parse_in(store_dir, bytes).map_err(malformed)?;
        let path = narinfo.store_path();
        if wanted.is_some_and(|wanted| wanted != path) || ObjectName::record_of(path) != *name {
            return Err(RecordError::OtherPath(path.clone()));
        }
        let outside = |_| RecordError::Url(super::error::harmless(narinfo.url()));
        let nar: ObjectName = narinfo.url().parse().map_err(outside)?;
        if !matches!(nar, ObjectName::Nar(_)) {
            return Err(RecordError::Url(super::error::harmless(narinfo.url())));
        }
        NarHash::try_from(narinfo.nar_hash()).map_err(|error| RecordError::Malformed(error.to_string()))?;
        if !narinfo.has_valid_signature(store_dir, trusted) {
            let names: Vec<&str> = narinfo.signatures().iter().map(|sig| sig.key_name.as_str()).collect();
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            return Err(RecordError::Untrusted(super::error::harmless(&names)));
        }
        let info = narinfo::to_path_info(&narinfo)
            .map_err(|error| RecordError::Malformed(super::error::harmless(&error.to_string())))?;
        Ok(Self { info, nar, file_size: narinfo.file_size(), narinfo })
    }

    /// How its NAR is packed.
    pub(super) fn packing(&self) -> Result<Packing, RecordError> {
        match self.narinfo.compression() {
            Compression::None => Ok(Packing::Plain),
            Compression::Zstd => Ok(Packing::Zstd),
            Compression::Gzip => Ok(Packing::Gzip),
            other @ (Compression::Bzip2 | Compression::Xz | Compression::Other(_)) => {
                Err(RecordError::Compression(super::error::harmless(other.as_str())))
            }
        }
    }
}

fn malformed(error: ParseError) -> RecordError {
    RecordError::Malformed(super::error::harmless(&error.to_string()))
}
