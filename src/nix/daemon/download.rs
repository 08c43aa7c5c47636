//! Getting the content of a path.
//!
//! Layer 0. The NAR comes without length or frames, and an error may come in its stead, so it takes care: the length
//! is asked for first, an error is looked for wherever one can stand, and the hash must be right.

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::client::{Client, Op};
use super::error::ClientError;
use super::log::{Discard, ERROR, decode_error};
use super::path_info::PathInfo;
use super::upload::check_hash;
use crate::nix::StorePath;
use crate::nix::wire::{Reader, WireError};

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    /// Writes the NAR of a valid path to `out` and returns what the path is.
    ///
    /// Bytes reach `out` before the hash is known to be right: use them only after success.
    pub async fn nar_from_path(
        &mut self,
        path: &StorePath,
        out: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<PathInfo, ClientError> {
        let Some(info) = self.query_path_info(path).await? else {
            return Err(ClientError::NotValid(path.clone()));
        };
        let mut request = self.begin(Op::NarFromPath)?;
        request.path(&self.store_dir, path);
        self.exchange(request, &mut Discard).await?;
        copy_nar(&info, &mut self.reader, &mut ToWriter { out, pending: Vec::new() }).await?;
        self.done(Ok(info))
    }
}

/// Takes the bytes of a NAR.
pub(super) trait NarSink {
    /// Takes some bytes.
    fn take(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), ClientError>> + Send;
    /// The NAR is complete.
    fn end(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;
}

/// Copies a NAR token by token: a length, bytes, padding. It need not be understood further than that.
///
/// When the daemon fails in the middle it sends an error where the next token should be, and then nothing more;
/// whoever just waits for the announced number of bytes waits for ever.
pub(super) async fn copy_nar<R, S>(
    info: &PathInfo,
    reader: &mut Reader<R>,
    sink: &mut S,
) -> Result<(), ClientError>
where
    R: AsyncRead + Unpin,
    S: NarSink,
{
    let mut copy = Copy { info, sink, hasher: Sha256::new(), left: info.nar_size };
    let mut chunk = Vec::new();
    // Only the content of a file can be as long as the error tag is big, and only in a NAR of more than 1.6 GB.
    let mut may_be_long = false;
    while copy.left > 0 {
        let word: [u8; 8] = reader.raw("NAR").await?;
        let len = u64::from_le_bytes(word);
        if len == ERROR && (len > copy.left || !may_be_long) {
            return Err(ClientError::Daemon(decode_error(reader).await?));
        }
        if copy.left == info.nar_size && len != NAR_MAGIC_LEN {
            return Err(WireError::bad_value("start of a NAR", word).into());
        }
        copy.take(&word).await?;
        may_be_long = false;
        if len == 8 {
            let token: [u8; 8] = reader.raw("NAR").await?;
            may_be_long = token == *b"contents";
            copy.take(&token).await?;
            continue;
        }
        let mut token_left = len.checked_next_multiple_of(8).unwrap_or(u64::MAX);
        while token_left > 0 {
            reader.raw_chunk(token_left, "NAR", &mut chunk).await?;
            token_left -= chunk.len() as u64;
            copy.take(&chunk).await?;
        }
    }
    copy.sink.end().await?;
    check_hash(info, copy.hasher)
}

/// The length of `nix-archive-1`.
const NAR_MAGIC_LEN: u64 = 13;
const PENDING_BYTES: usize = 32 << 10;

struct Copy<'c, S> {
    info: &'c PathInfo,
    sink: &'c mut S,
    hasher: Sha256,
    left: u64,
}

impl<S: NarSink> Copy<'_, S> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            let reason = format!("it is longer than the announced {} bytes", self.info.nar_size);
            return Err(ClientError::Corrupt { path: self.info.path.clone(), reason });
        };
        self.left = left;
        self.hasher.update(bytes);
        self.sink.take(bytes).await
    }
}

/// Writes in pieces that are worth a write.
struct ToWriter<'o, O> {
    out: &'o mut O,
    pending: Vec<u8>,
}

impl<O: AsyncWrite + Send + Unpin> NarSink for ToWriter<'_, O> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PENDING_BYTES {
            self.out.write_all(&self.pending).await.map_err(writing)?;
            self.pending.clear();
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), ClientError> {
        self.out.write_all(&self.pending).await.map_err(writing)?;
        self.pending.clear();
        self.out.flush().await.map_err(writing)
    }
}

fn writing(source: std::io::Error) -> ClientError {
    ClientError::Io { doing: "writing a downloaded NAR", source }
}
