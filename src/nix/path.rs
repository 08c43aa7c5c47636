//! Store paths, and the store path of a derivation as a type of its own.
//!
//! Layer 0, pure. A [`StorePath`] knows no store directory; absolute paths are made and read through a [`StoreDir`].

use std::fmt;
use std::str::FromStr;

pub use nix_derivation::{StoreDir, StorePath};

/// Why a text is no derivation path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrvPathError {
    /// It is not a store path at all.
    #[error("derivation path {shown:?} is not a store path: {source}")]
    NotAStorePath {
        /// The start of what was given.
        shown: String,
        /// What is wrong with it.
        source: nix_derivation::store_path::Error,
    },
    /// It is a store path of something else.
    #[error("store path {0} does not end in .drv, so it is not a derivation path")]
    NotADerivation(StorePath),
}

/// The store path of a `.drv` file: it identifies a derivation with all its inputs, down to their URLs.
///
/// Prints as base name; [`DrvPath::absolute`] makes an absolute path. As serde value it is the absolute path in
/// `/nix/store`. Reads either form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrvPath(StorePath);

impl DrvPath {
    /// Takes a store path that ends in `.drv`.
    pub fn new(path: StorePath) -> Result<Self, DrvPathError> {
        if path.is_derivation() { Ok(Self(path)) } else { Err(DrvPathError::NotADerivation(path)) }
    }

    /// For a path that was checked before.
    pub(super) fn assume(path: StorePath) -> Self {
        debug_assert!(path.is_derivation());
        Self(path)
    }

    /// Reads an absolute path in the given store directory.
    pub fn parse(store_dir: &StoreDir, absolute: &str) -> Result<Self, DrvPathError> {
        let path = store_dir.parse_path(absolute.as_bytes());
        path.map_err(|source| not_a_store_path(absolute, source)).and_then(Self::new)
    }

    /// The path in the given store directory.
    pub fn absolute(&self, store_dir: &StoreDir) -> String {
        store_dir.render_path(&self.0)
    }

    /// The plain store path.
    pub fn as_store_path(&self) -> &StorePath {
        &self.0
    }

    /// The plain store path.
    pub fn into_store_path(self) -> StorePath {
        self.0
    }

    /// The derivation's name, without `.drv`.
    pub fn name(&self) -> &str {
        self.0.name().strip_suffix(".drv").unwrap_or_default()
    }
}

fn not_a_store_path(text: &str, source: nix_derivation::store_path::Error) -> DrvPathError {
    DrvPathError::NotAStorePath { shown: text.chars().take(300).collect(), source }
}

impl fmt::Display for DrvPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_basename())
    }
}

impl FromStr for DrvPath {
    type Err = DrvPathError;

    fn from_str(text: &str) -> Result<Self, DrvPathError> {
        if text.starts_with('/') {
            return Self::parse(&StoreDir::default(), text);
        }
        let path = StorePath::from_basename(text.as_bytes());
        path.map_err(|source| not_a_store_path(text, source)).and_then(Self::new)
    }
}

impl TryFrom<StorePath> for DrvPath {
    type Error = DrvPathError;

    fn try_from(path: StorePath) -> Result<Self, DrvPathError> {
        Self::new(path)
    }
}

impl From<DrvPath> for StorePath {
    fn from(path: DrvPath) -> StorePath {
        path.0
    }
}

impl AsRef<StorePath> for DrvPath {
    fn as_ref(&self) -> &StorePath {
        &self.0
    }
}

impl serde::Serialize for DrvPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_absolute_path())
    }
}

impl<'de> serde::Deserialize<'de> for DrvPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv";

    #[test]
    fn reads_both_forms_and_prints_the_short_one() {
        let short: DrvPath = BASE.parse().unwrap();
        let long: DrvPath = format!("/nix/store/{BASE}").parse().unwrap();
        assert_eq!(short, long);
        assert_eq!((short.to_string().as_str(), short.name()), (BASE, "foo"));
        assert_eq!(serde_json::to_string(&short).unwrap(), format!("\"/nix/store/{BASE}\""));
        assert_eq!(serde_json::from_str::<DrvPath>(&format!("\"/nix/store/{BASE}\"")).unwrap(), short);
        let elsewhere = StoreDir::new("/data/store").unwrap();
        assert_eq!(short.absolute(&elsewhere), format!("/data/store/{BASE}"));
        assert_eq!(DrvPath::parse(&elsewhere, &short.absolute(&elsewhere)).unwrap(), short);
    }

    #[test]
    fn refuses_other_things() {
        for bad in ["", "/", "/nix/store", "foo.drv", "/nix/store/../x.drv", "/tmp/x.drv", &BASE[..36]] {
            assert!(bad.parse::<DrvPath>().is_err(), "{bad:?}");
        }
        let message = "g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo".parse::<DrvPath>().unwrap_err().to_string();
        assert!(message.contains("does not end in .drv"), "{message}");
    }
}
