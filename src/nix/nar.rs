//! NARs, Nix's archives: reading, listing, writing and hashing them.
//!
//! Layer 0; bytes through `Read`, `Write` and the asynchronous kind. The grammar comes from `nix-archive`, which
//! refuses names such as `..`, wrong order, bad padding and more than 64 levels. Absent: unpacking to a
//! file system.

use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWrite;

use super::NarHash;

use nix_archive::nar::{CaseHack, ReadEvent, decode_events_reader, encode_path};
pub use nix_archive::nar::{Encoder, Error as NarError, Event, RegularWriter};

/// What an entry of a NAR is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory; its entries follow.
    Directory,
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether it can be executed.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points; any bytes.
        target: Vec<u8>,
    },
}

/// One entry of a NAR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the root, without a leading slash; empty for the root. Any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
}

/// Why a NAR could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is malformed, or its stream failed.
    #[error("reading a NAR: {0}")]
    Nar(#[from] NarError),
    /// It has more entries than were allowed.
    #[error("the NAR has more than {0} entries")]
    TooManyEntries(usize),
    /// The wanted file is larger than was allowed.
    #[error("file {path} in the NAR has {size} bytes; at most {limit} were wanted")]
    FileTooLarge {
        /// The file, escaped.
        path: String,
        /// Its length.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

/// Lists a NAR of at most `max_entries` entries. The whole stream is read and checked.
pub fn list(nar: &mut impl Read, max_entries: usize) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    let mut full = false;
    let outcome = visit(nar, |path, kind, _| {
        full = entries.len() == max_entries;
        if full {
            return Err(stop());
        }
        entries.push(Entry { path: path.to_vec(), kind });
        Ok(())
    });
    match outcome {
        Err(_) if full => Err(ReadError::TooManyEntries(max_entries)),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(entries),
    }
}

/// The content of one file of a NAR, if there is such a file. The whole stream is read and checked.
pub fn read_file(nar: &mut impl Read, wanted: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let mut found = None;
    let mut too_large = None;
    let outcome = visit(nar, |path, kind, content| match (kind, content) {
        (EntryKind::File { size, .. }, Some(content)) if path == wanted.as_bytes() => {
            if size > limit {
                too_large = Some(size);
                return Err(stop());
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            found = Some(bytes);
            Ok(())
        }
        _ => Ok(()),
    });
    if let Some(size) = too_large {
        let path = wanted.escape_debug().to_string();
        return Err(ReadError::FileTooLarge { path, size, limit });
    }
    outcome?;
    Ok(found)
}

/// The hash of the NAR that Nix would make of the file, folder or link at `path`. Blocks. A NAR of more than `limit`
/// bytes is an error, and so is a tree that holds what no NAR does or changes while it is read.
pub fn hash_path(path: &Path, limit: u64) -> Result<NarHash, NarError> {
    let mut hashed = HashingWriter::new(Bounded { left: limit });
    encode_path(&mut hashed, path, CaseHack::native())?;
    let (_, hash, _) = hashed.finish();
    Ok(hash)
}

/// Takes so many bytes and forgets them.
struct Bounded {
    left: u64,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stop() -> NarError {
    NarError::Io(io::ErrorKind::Interrupted.into())
}

/// Calls `visitor` with the full path of each entry; files come with their content.
fn visit<R: Read>(
    nar: &mut R,
    mut visitor: impl FnMut(&[u8], EntryKind, Option<&mut dyn Read>) -> Result<(), NarError>,
) -> Result<(), NarError> {
    let mut path = Vec::new();
    let mut lengths = Vec::new();
    decode_events_reader(nar, |event: ReadEvent<'_, R>| match event {
        Event::DirectoryStart { name } => {
            lengths.push(path.len());
            push_name(&mut path, name);
            visitor(&path, EntryKind::Directory, None)
        }
        Event::DirectoryEnd { .. } => {
            path.truncate(lengths.pop().unwrap_or_default());
            Ok(())
        }
        Event::Regular { name, executable, mut contents } => {
            let length = path.len();
            push_name(&mut path, name);
            let kind = EntryKind::File { size: contents.size(), executable };
            let outcome = visitor(&path, kind, Some(&mut contents));
            path.truncate(length);
            outcome
        }
        Event::Symlink { name, target } => {
            let length = path.len();
            push_name(&mut path, name);
            let outcome = visitor(&path, EntryKind::Symlink { target: target.to_vec() }, None);
            path.truncate(length);
            outcome
        }
    })
}

fn push_name(path: &mut Vec<u8>, name: Option<&[u8]>) {
    if let Some(name) = name {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
}

/// Passes bytes on and remembers their hash and number.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W> HashingWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    /// The writer, with hash and number of the bytes that it took.
    pub fn finish(self) -> (W, NarHash, u64) {
        (self.inner, NarHash::new(self.hasher.finalize().into()), self.size)
    }

    fn took(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }
}

impl<W: io::Write> io::Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.took(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for HashingWriter<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.took(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
