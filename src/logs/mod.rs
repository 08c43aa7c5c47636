//! The log of an attempt: one file, written as the build runs, read at any line. Edge: files.
//!
//! `<dir>/<two hex digits>/<attempt>.zst` is a series of zstd frames that each hold whole lines, about 64 KiB of
//! them, and at its end an index in a skippable frame. `zstd -dc FILE` prints the log. A file without an index
//! belongs to a build that runs, or to a writer that was killed; its frames are found by looking through them. An
//! empty log has no file.
//!
//! All calls but [`follow`] are synchronous. [`LogWriter::append`] only fills memory, but for one write of some
//! 20 KiB per 64 KiB of log; `flush` writes what there is; `finish` waits for the disk. Readers read the disk.
//! What a log means, and how it is shown, is in `report`.

mod follow;
mod frame;
mod index;
mod reader;
mod tail;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use follow::{Follow, follow};
pub use reader::{LogHits, LogLine, LogReader, LogState};
pub use writer::{LogLimits, LogSummary, LogWriter};

use crate::{ids::AttemptId, task::TaskError};

/// A log that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system said no.
    #[error("{doing} the log {}", path.display())]
    Io {
        /// What was tried: `writing`, `reading`.
        doing: &'static str,
        /// The log's file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// No room is left. The log ends with the last line that was flushed.
    #[error("writing the log {}: the disk is full; free some space, or keep logs for a shorter time", path.display())]
    DiskFull {
        /// The log's file.
        path: PathBuf,
    },
    /// The file does not hold what croft wrote.
    #[error("reading the log {} at byte {at}: {reason}; the file was changed or the disk is failing", path.display())]
    Corrupt {
        /// The log's file.
        path: PathBuf,
        /// The byte of the file.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Writing went wrong before and was not tried again.
    #[error("the log {} was given up after an earlier error", path.display())]
    GivenUp {
        /// The log's file.
        path: PathBuf,
    },
    /// The reading task died.
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl LogError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned() }
            }
            _ => Self::Io { doing, path: path.to_owned(), source },
        }
    }
}

/// The file of an attempt's log below `dir`. The folder is named by the last group of the id: its first groups are
/// the time, which would put all of a day's logs into one folder.
pub fn log_path(dir: &Path, attempt: AttemptId) -> PathBuf {
    let shard = format!("{:02x}", attempt.as_bytes()[10]);
    dir.join(shard).join(format!("{attempt}.zst"))
}

#[cfg(test)]
mod tests;
