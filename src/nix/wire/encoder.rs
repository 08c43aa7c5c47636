//! Building a message in memory.
//!
//! Layer 0, pure.

use std::collections::BTreeSet;

use crate::nix::{StoreDir, StorePath};

/// A message under construction.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// An integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u64(u64::from(value))
    }

    /// A string: length, bytes, padding to eight.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.count(value.len());
        self.out.extend_from_slice(value);
        self.out.resize(self.out.len().next_multiple_of(8), 0);
        self
    }

    /// A string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// The length of a list.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u64(count as u64)
    }

    /// A list of strings.
    pub fn texts<'t>(
        &mut self,
        values: impl IntoIterator<Item = &'t str, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        let values = values.into_iter();
        self.count(values.len());
        for value in values {
            self.text(value);
        }
        self
    }

    /// A store path, absolute.
    pub fn path(&mut self, store_dir: &StoreDir, path: &StorePath) -> &mut Self {
        self.text(&store_dir.render_path(path))
    }

    /// A store path, or the empty string.
    pub fn optional_path(&mut self, store_dir: &StoreDir, path: Option<&StorePath>) -> &mut Self {
        match path {
            Some(path) => self.path(store_dir, path),
            None => self.text(""),
        }
    }

    /// A set of store paths, sorted.
    pub fn paths(&mut self, store_dir: &StoreDir, paths: &BTreeSet<StorePath>) -> &mut Self {
        self.count(paths.len());
        for path in paths {
            self.path(store_dir, path);
        }
        self
    }
}
