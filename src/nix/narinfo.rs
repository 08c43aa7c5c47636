//! `.narinfo` records of binary caches.
//!
//! Layer 0, pure. Parsing, canonical writing and verification come from `nix-narinfo`; the size limit is checked
//! there too. Here they meet the daemon's [`PathInfo`].

use super::daemon::PathInfo;
use super::hash::HashError;
use super::{NarHash, StoreDir};

pub use nix_narinfo::{
    BuildError, Compression, Field, MAX_NARINFO_SIZE, NarInfo, NarInfoBuilder, ParseError,
};

/// What a record says about its path, in the form of the daemon protocol.
pub fn to_path_info(narinfo: &NarInfo) -> Result<PathInfo, HashError> {
    Ok(PathInfo {
        path: narinfo.store_path().clone(),
        deriver: narinfo.deriver().cloned(),
        nar_hash: NarHash::try_from(narinfo.nar_hash())?,
        references: narinfo.references().clone(),
        registration_time: 0,
        nar_size: narinfo.nar_size(),
        ultimate: false,
        signatures: narinfo.signatures().iter().map(ToString::to_string).collect(),
        ca: narinfo.content_address().map(ToString::to_string),
    })
}

/// Starts a record for a path whose NAR will be at `url`.
pub fn from_path_info(
    store_dir: &StoreDir,
    info: &PathInfo,
    url: &str,
    compression: Compression,
) -> NarInfoBuilder {
    NarInfo::builder_in(store_dir.clone(), info.path.clone(), url, info.nar_hash.into(), info.nar_size)
        .compression(compression)
        .references(info.references.iter().cloned())
        .deriver(info.deriver.clone())
        .signatures(info.signatures.iter().filter_map(|text| text.parse().ok()))
        .content_address(info.ca.as_deref().and_then(|text| text.parse().ok()))
}
