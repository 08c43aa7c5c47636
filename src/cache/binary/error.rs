//! What can go wrong with a binary cache.

use std::path::PathBuf;

use super::record::RecordError;
use crate::{
    nix::{StorePath, daemon::ClientError},
    task::TaskError,
};

/// Why a cache could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The configuration cannot work.
    #[error("cache.{key}: {cause}")]
    Settings {
        /// The key in `[cache]`.
        key: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// A file of ours could not be used.
    #[error("{doing} {path}: {source}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The store behind the cache failed: a fault of the network or the server.
    #[error("{doing} {object} of the binary cache {cache}: {cause}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// The object.
        object: String,
        /// Where the cache is.
        cache: String,
        /// What the store said; bounded and harmless.
        cause: String,
    },
    /// The cache cannot be written by us.
    #[error("the binary cache {0} has no signing key here; set cache.push or cache.key_file")]
    ReadOnly(String),
    /// A record claims what it may not.
    #[error("the binary cache {cache} has a record for {path} that croft refuses: {cause}")]
    Record {
        /// Whose record.
        path: String,
        /// Where the cache is.
        cache: String,
        /// What is wrong.
        cause: RecordError,
    },
    /// The content is not what the signed record says.
    #[error(
        "the binary cache {cache} has other content for {path} than was signed: {cause}; remove its record"
    )]
    Corrupt {
        /// Whose NAR.
        path: StorePath,
        /// Where the cache is.
        cache: String,
        /// What differs.
        cause: String,
    },
    /// The content is missing or ends too soon.
    #[error("the NAR of {path} in the binary cache {cache} cannot be read: {cause}")]
    Broken {
        /// Whose NAR.
        path: StorePath,
        /// Where the cache is.
        cache: String,
        /// Why not.
        cause: String,
    },
    /// What was to be written is not what was announced.
    #[error("the NAR of {path} is not written to the cache: {cause}")]
    Source {
        /// Whose NAR.
        path: StorePath,
        /// What differs.
        cause: String,
    },
    /// The daemon did not give what was to be written.
    #[error("reading {path} for the binary cache: {source}")]
    Daemon {
        /// What was asked for.
        path: String,
        /// What the daemon said.
        source: ClientError,
    },
    /// A task of ours died.
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl CacheError {
    /// Whether somebody should look at it: the cache holds what nobody we trust has signed, or something else than
    /// they signed. All other errors are faults; what was wanted can be built instead.
    pub fn is_alarm(&self) -> bool {
        match self {
            Self::Record { .. } | Self::Corrupt { .. } => true,
            Self::Settings { .. }
            | Self::File { .. }
            | Self::Store { .. }
            | Self::ReadOnly(_)
            | Self::Broken { .. }
            | Self::Source { .. }
            | Self::Daemon { .. }
            | Self::Task(_) => false,
        }
    }
}

/// A text from outside, fit for a terminal and a log: bounded and without control characters.
pub(super) fn harmless(text: &str) -> String {
    const MOST: usize = 300;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
