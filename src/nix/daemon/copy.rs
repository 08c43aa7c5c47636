//! Copying paths from one store to another, through this process but not into it.
//!
//! Layer 0. The NARs of many paths pass from one connection to the other in one operation on each side: memory holds a
//! frame, whatever the paths are. What passes is hashed once, here.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Client, Op, drain_log, send};
use super::download::{NarSink, copy_nar};
use super::error::{ClientError, SENDING};
use super::log::Discard;
use super::path_info::PathInfo;
use super::upload::SignatureCheck;
use crate::nix::StoreDir;
use crate::nix::wire::{Encoder, Frames, Reader};

/// Which of the two stores failed, and how.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The one that was read.
    #[error("reading from the store: {0}")]
    Source(ClientError),
    /// The one that was written.
    #[error("adding to the store: {0}")]
    Target(ClientError),
}

/// Bytes that have passed so far; shows whether a copy still moves.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// How many bytes of NARs have passed.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    /// Copies valid paths to `target`, each after those that it refers to. `paths` says what will be registered there,
    /// so what the source claims must have been judged before. After an error neither connection is usable.
    pub async fn copy_paths_to<R2, W2>(
        &mut self,
        paths: &[PathInfo],
        target: &mut Client<R2, W2>,
        check: SignatureCheck,
        progress: &Progress,
    ) -> Result<(), CopyError>
    where
        R2: AsyncRead + Send + Unpin,
        W2: AsyncWrite + Send + Unpin,
    {
        let mut request = target.begin(Op::AddMultipleToStore).map_err(CopyError::Target)?;
        request.bool(false).bool(check == SignatureCheck::Skip);
        self.begin(Op::NarFromPath).map_err(CopyError::Source)?;
        let asks = self.path_requests(Op::NarFromPath, paths.iter().map(|info| &info.path));
        let Client { reader: from, writer: asking, .. } = self;
        let Client { reader: answers, writer: to, store_dir, .. } = target;
        let pump = async {
            send(to, &request).await.map_err(CopyError::Target)?;
            let mut frames = ToFrames { frames: Frames::new(to), progress };
            frames.write(&(paths.len() as u64).to_le_bytes()).await.map_err(CopyError::Target)?;
            for info in paths {
                copy_path(info, from, &mut frames, store_dir).await?;
            }
            frames.frames.finish().await.map_err(ClientError::sending).map_err(CopyError::Target)
        };
        let outgoing = async {
            let ask = async { send(asking, &asks).await.map_err(CopyError::Source) };
            tokio::try_join!(ask, pump).map(|((), ())| ())
        };
        both(outgoing, drain_log(answers, &mut Discard)).await?;
        self.done(());
        target.done(());
        Ok(())
    }
}

async fn copy_path<R, W>(
    info: &PathInfo,
    from: &mut Reader<R>,
    frames: &mut ToFrames<'_, '_, W>,
    store_dir: &StoreDir,
) -> Result<(), CopyError>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let mut header = Encoder::new();
    info.encode(store_dir, &mut header);
    frames.write(header.as_bytes()).await.map_err(CopyError::Target)?;
    drain_log(from, &mut Discard).await.map_err(CopyError::Source)?;
    copy_nar(info, from, frames).await.map_err(|error| match error {
        error @ ClientError::Io { doing: SENDING, .. } => CopyError::Target(error),
        error => CopyError::Source(error),
    })
}

/// Sends while the target's daemon is listened to: what that says explains best why sending fails.
async fn both(
    outgoing: impl Future<Output = Result<(), CopyError>>,
    incoming: impl Future<Output = Result<(), ClientError>>,
) -> Result<(), CopyError> {
    let (mut outgoing, mut incoming) = (pin!(outgoing), pin!(incoming));
    tokio::select! {
        biased;
        answer = &mut incoming => {
            answer.map_err(CopyError::Target)?;
            outgoing.await
        }
        sent = &mut outgoing => match sent {
            Ok(()) => incoming.await.map_err(CopyError::Target),
            Err(error @ CopyError::Target(_)) => match incoming.await {
                Err(explained @ ClientError::Daemon(_)) => Err(CopyError::Target(explained)),
                Ok(()) | Err(_) => Err(error),
            },
            Err(error @ CopyError::Source(_)) => Err(error),
        },
    }
}

struct ToFrames<'w, 'p, W> {
    frames: Frames<'w, W>,
    progress: &'p Progress,
}

impl<W: AsyncWrite + Send + Unpin> ToFrames<'_, '_, W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.frames.write(bytes).await.map_err(ClientError::sending)
    }
}

impl<W: AsyncWrite + Send + Unpin> NarSink for ToFrames<'_, '_, W> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.write(bytes).await?;
        self.progress.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn end(&mut self) -> Result<(), ClientError> {
        Ok(())
    }
}
