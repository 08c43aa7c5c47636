//! Adding paths to a store.
//!
//! Layer 0. NARs are streamed; what passes is hashed and counted, and must be what was announced.

use std::collections::BTreeSet;
use std::io;

use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Client, Op, drain_log, duplex, send};
use super::error::ClientError;
use super::log::Discard;
use super::path_info::PathInfo;
use crate::nix::wire::{Encoder, Frames, WireError};
use crate::nix::{NarHash, StoreDir, StorePath};

/// Whether the daemon must find a trusted signature on what is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureCheck {
    /// It must, unless the path is content-addressed.
    #[default]
    Require,
    /// It need not. A daemon that does not trust the client checks all the same.
    Skip,
}

/// A path to add with its content.
#[derive(Debug)]
pub struct NarToAdd<N> {
    /// What it is.
    pub info: PathInfo,
    /// Its NAR, of exactly the announced length.
    pub nar: N,
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    /// Adds a text file, which is how a `.drv` gets into a store. What it refers to must be valid.
    pub async fn add_text_to_store(
        &mut self,
        name: &str,
        content: &[u8],
        references: &BTreeSet<StorePath>,
    ) -> Result<PathInfo, ClientError> {
        let mut request = self.begin(Op::AddToStore)?;
        request.text(name).text("text:sha256").paths(&self.store_dir, references).bool(false);
        let Self { reader, writer, .. } = self;
        let send = async {
            send(writer, &request).await?;
            let mut frames = Frames::new(writer);
            frames.write(content).await.map_err(ClientError::sending)?;
            frames.finish().await.map_err(ClientError::sending)
        };
        duplex(send, drain_log(reader, &mut Discard)).await?;
        let info = PathInfo::decode(&self.store_dir, &mut self.reader).await?;
        let expected = self.store_dir.build_text_path(name, content, references);
        if expected.as_ref() != Ok(&info.path) {
            return Err(WireError::bad_value("path of the added text", info.path.to_basename()).into());
        }
        self.done(Ok(info))
    }

    /// Adds one path.
    pub async fn add_nar(
        &mut self,
        nar: NarToAdd<impl AsyncRead + Send + Unpin>,
        check: SignatureCheck,
    ) -> Result<(), ClientError> {
        let NarToAdd { info, nar: mut content } = nar;
        let mut request = self.begin(Op::AddToStoreNar)?;
        info.encode(&self.store_dir, &mut request);
        request.bool(false).bool(check == SignatureCheck::Skip);
        let Self { reader, writer, .. } = self;
        let send = async {
            send(writer, &request).await?;
            let mut frames = Frames::new(writer);
            copy_nar(&info, &mut content, &mut frames).await?;
            frames.finish().await.map_err(ClientError::sending)
        };
        duplex(send, drain_log(reader, &mut Discard)).await?;
        self.done(Ok(()))
    }

    /// Adds `count` paths in one operation, each after those that it refers to.
    pub async fn add_multiple_to_store<N, S>(
        &mut self,
        count: u64,
        paths: S,
        check: SignatureCheck,
    ) -> Result<(), ClientError>
    where
        N: AsyncRead + Send + Unpin,
        S: Stream<Item = io::Result<NarToAdd<N>>> + Send + Unpin,
    {
        let mut request = self.begin(Op::AddMultipleToStore)?;
        request.bool(false).bool(check == SignatureCheck::Skip);
        let Self { reader, writer, store_dir, .. } = self;
        let send = async {
            send(writer, &request).await?;
            let mut frames = Frames::new(writer);
            frames.write(&count.to_le_bytes()).await.map_err(ClientError::sending)?;
            copy_nars(count, paths, store_dir, &mut frames).await?;
            frames.finish().await.map_err(ClientError::sending)
        };
        duplex(send, drain_log(reader, &mut Discard)).await?;
        self.done(Ok(()))
    }
}

async fn copy_nars<N, S, W>(
    count: u64,
    mut paths: S,
    store_dir: &StoreDir,
    frames: &mut Frames<'_, W>,
) -> Result<(), ClientError>
where
    N: AsyncRead + Send + Unpin,
    S: Stream<Item = io::Result<NarToAdd<N>>> + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    for _ in 0..count {
        let next = paths.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
        let NarToAdd { info, mut nar } = next.map_err(|source| ClientError::Io {
            doing: "getting the next of the announced paths to upload",
            source,
        })?;
        let mut header = Encoder::new();
        info.encode(store_dir, &mut header);
        frames.write(header.as_bytes()).await.map_err(ClientError::sending)?;
        copy_nar(&info, &mut nar, frames).await?;
    }
    Ok(())
}

/// Copies a NAR of the announced length and hash. The body is not ended if it is another one.
async fn copy_nar<N, W>(info: &PathInfo, nar: &mut N, frames: &mut Frames<'_, W>) -> Result<(), ClientError>
where
    N: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let mut hasher = Sha256::new();
    let mut left = info.nar_size;
    while left > 0 {
        let copied = frames.read_from(nar, left, &mut |chunk| hasher.update(chunk)).await;
        match copied.map_err(|source| ClientError::Io { doing: "reading a NAR to upload", source })? {
            0 => {
                let reason = format!("it ends {left} bytes before the announced {}", info.nar_size);
                return Err(ClientError::Corrupt { path: info.path.clone(), reason });
            }
            read => left -= read,
        }
        frames.send_if_full().await.map_err(ClientError::sending)?;
    }
    check_hash(info, hasher)
}

/// Compares what passed with what was announced.
pub(super) fn check_hash(info: &PathInfo, hasher: Sha256) -> Result<(), ClientError> {
    let found = NarHash::new(hasher.finalize().into());
    if found == info.nar_hash {
        return Ok(());
    }
    let reason = format!("its hash is {found}, announced was {}", info.nar_hash);
    Err(ClientError::Corrupt { path: info.path.clone(), reason })
}
