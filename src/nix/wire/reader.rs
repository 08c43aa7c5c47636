//! Reading primitives under limits.
//!
//! Layer 0. A read that fails or is cancelled leaves the stream at an unknown position: drop the connection.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::{Limits, WireError};
use crate::nix::{StoreDir, StorePath};

const BUFFER_BYTES: usize = 64 << 10;

/// Reads protocol values from a stream.
#[derive(Debug)]
pub struct Reader<R> {
    inner: BufReader<R>,
    limits: Limits,
    message_left: u64,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Wraps a stream.
    pub fn new(inner: R, limits: Limits) -> Self {
        let inner = BufReader::with_capacity(BUFFER_BYTES, inner);
        Self { inner, limits, message_left: limits.message_bytes }
    }

    /// Starts a new message: its allowance of bytes is full again.
    pub fn start_message(&mut self) {
        self.message_left = self.limits.message_bytes;
    }

    /// An integer.
    pub async fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.inner.read_u64_le().await.map_err(|source| io_error(what, source))
    }

    /// A truth value; anything but 0 and 1 is an error.
    pub async fn bool(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u64(what).await? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::bad_number(what, other)),
        }
    }

    /// The number of items that follow.
    pub async fn count(&mut self, what: &'static str) -> Result<u64, WireError> {
        let announced = self.u64(what).await?;
        if announced > self.limits.items {
            return Err(WireError::TooLarge { what, announced, limit: self.limits.items });
        }
        Ok(announced)
    }

    /// A string. It need not be UTF-8: logs and errors are what builders wrote.
    pub async fn bytes(&mut self, what: &'static str) -> Result<Vec<u8>, WireError> {
        let len = self.u64(what).await?;
        let limit = self.limits.string_bytes.min(self.message_left);
        if len > limit {
            return Err(WireError::TooLarge { what, announced: len, limit });
        }
        // An empty string costs memory too when a list announces millions of them.
        self.message_left = self.message_left.saturating_sub(len.max(32));
        let mut value = Vec::new();
        (&mut self.inner).take(len).read_to_end(&mut value).await.map_err(|source| io_error(what, source))?;
        if value.len() as u64 != len {
            return Err(WireError::Closed { what });
        }
        self.padding(value.len(), what).await?;
        Ok(value)
    }

    async fn padding(&mut self, len: usize, what: &'static str) -> Result<(), WireError> {
        let mut padding = [0; 8];
        let padding = &mut padding[..len.next_multiple_of(8) - len];
        self.inner.read_exact(padding).await.map_err(|source| io_error(what, source))?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(WireError::bad_value(what, padding));
        }
        Ok(())
    }

    /// A string that must be UTF-8.
    pub async fn text(&mut self, what: &'static str) -> Result<String, WireError> {
        let bytes = self.bytes(what).await?;
        String::from_utf8(bytes).map_err(|error| WireError::bad_value(what, error.as_bytes()))
    }

    /// A list of strings that must be UTF-8.
    pub async fn texts(&mut self, what: &'static str) -> Result<Vec<String>, WireError> {
        let mut texts = Vec::new();
        for _ in 0..self.count(what).await? {
            texts.push(self.text(what).await?);
        }
        Ok(texts)
    }

    /// A store path, absolute.
    pub async fn path(&mut self, store_dir: &StoreDir, what: &'static str) -> Result<StorePath, WireError> {
        let bytes = self.bytes(what).await?;
        store_dir.parse_path(&bytes).map_err(|_| WireError::bad_value(what, &bytes))
    }

    /// A store path, or the empty string.
    pub async fn optional_path(
        &mut self,
        store_dir: &StoreDir,
        what: &'static str,
    ) -> Result<Option<StorePath>, WireError> {
        let bytes = self.bytes(what).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        store_dir.parse_path(&bytes).map(Some).map_err(|_| WireError::bad_value(what, &bytes))
    }

    /// A set of store paths.
    pub async fn paths(
        &mut self,
        store_dir: &StoreDir,
        what: &'static str,
    ) -> Result<BTreeSet<StorePath>, WireError> {
        let mut paths = BTreeSet::new();
        for _ in 0..self.count(what).await? {
            paths.insert(self.path(store_dir, what).await?);
        }
        Ok(paths)
    }

    /// Exactly `N` bytes without length or padding.
    pub async fn raw<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).await.map_err(|source| io_error(what, source))?;
        Ok(bytes)
    }

    /// Replaces `into` by some bytes without length or padding: at least one, at most `max`.
    pub async fn raw_chunk(
        &mut self,
        max: u64,
        what: &'static str,
        into: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let chunk = self.inner.fill_buf().await.map_err(|source| io_error(what, source))?;
        if chunk.is_empty() {
            return Err(WireError::Closed { what });
        }
        let len = chunk.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        into.clear();
        into.extend_from_slice(&chunk[..len]);
        self.inner.consume(len);
        Ok(())
    }

    /// What has arrived but was not read yet. For error messages.
    pub fn buffered(&self) -> &[u8] {
        self.inner.buffer()
    }
}

fn io_error(what: &'static str, source: std::io::Error) -> WireError {
    if source.kind() == ErrorKind::UnexpectedEof {
        return WireError::Closed { what };
    }
    WireError::Io { what, source }
}
