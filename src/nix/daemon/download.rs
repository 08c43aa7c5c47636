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
        copy_nar(&info, &mut self.reader, out).await?;
        self.done(Ok(info))
    }
}

/// Copies a NAR token by token: a length, bytes, padding. It need not be understood further than that.
///
/// When the daemon fails in the middle it sends an error where the next token should be, and then nothing more;
/// whoever just waits for the announced number of bytes waits for ever.
async fn copy_nar<R, O>(info: &PathInfo, reader: &mut Reader<R>, out: &mut O) -> Result<(), ClientError>
where
    R: AsyncRead + Unpin,
    O: AsyncWrite + Send + Unpin,
{
    let mut copy = Copy { info, out, hasher: Sha256::new(), left: info.nar_size, pending: Vec::new() };
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
    copy.finish().await
}

/// The length of `nix-archive-1`.
const NAR_MAGIC_LEN: u64 = 13;
const PENDING_BYTES: usize = 32 << 10;

struct Copy<'c, O> {
    info: &'c PathInfo,
    out: &'c mut O,
    hasher: Sha256,
    left: u64,
    pending: Vec<u8>,
}

impl<O: AsyncWrite + Send + Unpin> Copy<'_, O> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            let reason = format!("it is longer than the announced {} bytes", self.info.nar_size);
            return Err(ClientError::Corrupt { path: self.info.path.clone(), reason });
        };
        self.left = left;
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PENDING_BYTES { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), ClientError> {
        self.hasher.update(&self.pending);
        self.out.write_all(&self.pending).await.map_err(writing)?;
        self.pending.clear();
        Ok(())
    }

    async fn finish(mut self) -> Result<(), ClientError> {
        self.send().await?;
        self.out.flush().await.map_err(writing)?;
        check_hash(self.info, self.hasher)
    }
}

fn writing(source: std::io::Error) -> ClientError {
    ClientError::Io { doing: "writing a downloaded NAR", source }
}
