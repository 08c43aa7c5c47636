//! The farm's binary cache, in the format of Nix: `nix-cache-info`, `HASH.narinfo`, `nar/FILEHASH.nar.zst`.
//!
//! A cache is a directory, an http(s) server or an S3-compatible store. What to know:
//!
//! - NARs are named by their own hash, so an object never changes; several writers of one path do no harm.
//! - A NAR is verified, complete and durable before its record appears, and a record appears at once or not at all.
//! - What is read is hostile until its signature, length and hash are right: see [`Record`].
//! - Errors that an attack could cause are told from mere faults by [`CacheError::is_alarm`].
//!
//! Absent: what to write and when, which is the engine's; HTTP service, which is `web`'s.

mod backend;
mod check;
mod closure;
mod credentials;
mod decode;
mod error;
mod key;
mod object;
mod push;
mod read;
mod record;
mod spool;

use std::{fmt, path::Path, sync::Arc};

use tokio::sync::OnceCell;

use crate::{
    config::{CacheSettings, CacheUrl, PushScope},
    nix::{
        StoreDir,
        signature::{PublicKey, SecretKey, public_key_text},
    },
};

use backend::Backend;

pub use check::{Checked, Finding};
pub use closure::Pushed;
pub use error::CacheError;
pub use key::{KeyOrigin, signing_key};
pub use object::{Object, ObjectName, Range};
pub use push::Written;
pub use read::Found;
pub use record::{Record, RecordError};

/// A binary cache that can be read and, with a key, written. Cheap to clone.
#[derive(Clone)]
pub struct BinaryCache(Arc<Inner>);

struct Inner {
    store_dir: StoreDir,
    backend: Backend,
    url: CacheUrl,
    substituter: Option<String>,
    key: Option<(SecretKey, KeyOrigin)>,
    trusted: Vec<PublicKey>,
    scope: PushScope,
    level: i32,
    /// Whether `nix-cache-info` is known to be there.
    introduced: OnceCell<()>,
}

impl BinaryCache {
    /// Opens the cache that the settings name; none if they name none.
    ///
    /// Makes the directory of a cache that is one, and a signing key in `state_dir` where the cache is written and no
    /// `key_file` is set. Blocks for as long as that takes; asks no server.
    pub fn open(settings: &CacheSettings, state_dir: &Path) -> Result<Option<Self>, CacheError> {
        let Some(url) = settings.url.clone() else { return Ok(None) };
        let wants_key = settings.push != PushScope::None || settings.key_file.is_some();
        let key = if wants_key { Some(signing_key(settings, state_dir)?) } else { None };
        let mut trusted = key::trusted(&settings.trusted_keys)?;
        trusted.extend(key.as_ref().map(|(key, _)| key.public_key()));
        Ok(Some(Self(Arc::new(Inner {
            store_dir: StoreDir::default(),
            backend: Backend::open(&url, settings, state_dir)?,
            url,
            substituter: settings.substituter.clone(),
            key,
            trusted,
            scope: settings.push,
            level: i32::try_from(settings.compression_level).unwrap_or(i32::MAX),
            introduced: OnceCell::new(),
        }))))
    }

    /// The key that readers must trust, as `trusted-public-keys` wants it; none if the cache is only read.
    pub fn public_key(&self) -> Option<String> {
        self.0.key.as_ref().map(|(key, _)| public_key_text(&key.public_key()))
    }

    /// Where the signing key came from; none if the cache is only read.
    pub fn key_origin(&self) -> Option<&KeyOrigin> {
        self.0.key.as_ref().map(|(_, origin)| origin)
    }

    /// The address that Nix on another machine substitutes from; none if it cannot reach this cache by itself.
    pub fn substituter_url(&self) -> Option<String> {
        if let Some(substituter) = &self.0.substituter {
            return Some(substituter.clone());
        }
        match &self.0.url {
            CacheUrl::Directory(_) => None,
            // Nix has learnt prefixes of S3 only lately.
            CacheUrl::S3(place) if !place.prefix.is_empty() => None,
            url @ (CacheUrl::Http(_) | CacheUrl::S3(_)) => Some(url.to_string()),
        }
    }

    /// Where the cache is, as Nix on this machine takes it.
    pub fn url(&self) -> String {
        self.0.url.to_string()
    }

    /// What is to be written.
    pub fn scope(&self) -> PushScope {
        self.0.scope
    }

    /// All keys whose signatures are accepted, as texts for `trusted-public-keys`.
    pub fn trusted_keys(&self) -> Vec<String> {
        self.0.trusted.iter().map(public_key_text).collect()
    }

    /// The content of `nix-cache-info`.
    pub fn introduction(store_dir: &StoreDir) -> String {
        format!("StoreDir: {}\nWantMassQuery: 1\nPriority: {PRIORITY}\n", store_dir.as_str())
    }
}

/// Nix asks substituters with smaller numbers first; 40 is that of cache.nixos.org, and what is near comes before.
const PRIORITY: u32 = 30;

impl fmt::Debug for BinaryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BinaryCache").field("url", &self.url()).finish_non_exhaustive()
    }
}
