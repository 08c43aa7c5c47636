//! The objects of a cache: which names there can be, and what is fetched under them.

use std::{fmt, str::FromStr};

use object_store::GetRange;
use tokio::io::AsyncRead;

use crate::nix::StorePath;

/// The longest name below `nar/`, in bytes.
const MAX_NAME: usize = 200;
/// Length of the hash part of a store path.
const HASH_PART: usize = 32;

/// The name of an object that a binary cache can have. Nothing else is ever asked for or handed out: no `..`, no
/// absolute path, no query, no directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// `nix-cache-info`.
    CacheInfo,
    /// `HASH.narinfo`: the record of the store path with this hash part.
    Record(String),
    /// `nar/FILE`, or `FILE` in caches that have no folder.
    Nar(String),
}

/// A text that names no object of a binary cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no plain name of an object in a binary cache")]
pub struct ObjectNameError;

impl ObjectName {
    /// The record of a store path.
    pub fn record_of(path: &StorePath) -> Self {
        Self::Record(path.to_basename().chars().take(HASH_PART).collect())
    }
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        if text == "nix-cache-info" {
            return Ok(Self::CacheInfo);
        }
        if let Some(hash) = text.strip_suffix(".narinfo") {
            let in_hash = |c: u8| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&c);
            let is_hash = hash.len() == HASH_PART && hash.bytes().all(in_hash);
            return is_hash.then(|| Self::Record(hash.to_owned())).ok_or(ObjectNameError);
        }
        let file = text.strip_prefix("nar/").unwrap_or(text);
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.+=".contains(&c);
        let is_nar = file.split('.').skip(1).any(|part| part == "nar");
        let is_plain = !file.starts_with('.') && file.len() <= MAX_NAME && file.bytes().all(plain);
        (is_nar && is_plain).then(|| Self::Nar(text.to_owned())).ok_or(ObjectNameError)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheInfo => f.write_str("nix-cache-info"),
            Self::Record(hash) => write!(f, "{hash}.narinfo"),
            Self::Nar(name) => f.write_str(name),
        }
    }
}

/// Which bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Range {
    /// All of them.
    Whole,
    /// Those from the first number up to, not with, the second.
    Part(std::ops::Range<u64>),
}

impl Range {
    pub(super) fn get(self) -> Option<GetRange> {
        match self {
            Self::Whole => None,
            Self::Part(range) => Some(GetRange::Bounded(range)),
        }
    }
}

/// An object that is being fetched.
pub struct Object {
    /// Its whole length in bytes.
    pub size: u64,
    /// The bytes that were asked for.
    pub body: Box<dyn AsyncRead + Send + Unpin>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_cache_are_names() {
        for text in [
            "nix-cache-info",
            "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q.narinfo",
            "nar/1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s.nar.zst",
            "nar/1b8m.nar",
            "abc.nar.xz",
        ] {
            assert_eq!(text.parse::<ObjectName>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "/",
            "nar",
            "nar/",
            "nar/..",
            "../x.nar",
            "nar/../x.nar",
            "nar/..nar",
            "nar/.nar.zst",
            "/etc/x.nar",
            "nar/a/b.nar",
            "nar/a.nar?x=1",
            "nar/a%2e.nar",
            "nar/a.nar\n",
            "http://h/a.nar",
            "nar/plain",
            "nar/x.nar.zst#1",
            "short.narinfo",
            "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3e.narinfo",
            "G1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q.narinfo",
            "nar/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q.narinfo",
        ] {
            assert_eq!(text.parse::<ObjectName>(), Err(ObjectNameError), "{text:?}");
        }
        assert!(format!("nar/{}.nar", "a".repeat(300)).parse::<ObjectName>().is_err());
    }
}
