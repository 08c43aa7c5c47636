//! Outputs of passing builds on their way to the farm's binary cache, beside the run.
//!
//! A verdict never waits for an upload and never changes because of one: what cannot be written is only missing there.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::error::EngineError;
use crate::{
    cache::BinaryCache,
    nix::StorePath,
    remote::{Connection, Pool},
    task::{self, Task},
};

/// Builds whose outputs may wait; more are not written, and a word says so.
const WAITING: usize = 4096;
/// Builds whose outputs are written together.
const TOGETHER: usize = 64;

/// Takes outputs, and writes them.
#[derive(Debug, Clone)]
pub(super) struct Pusher(mpsc::Sender<BTreeSet<StorePath>>);

/// The writing, to be waited for at the end.
#[derive(Debug)]
pub(super) struct Pushing(Task<()>);

impl Pusher {
    /// Starts to write to `cache` what it is given, from the store behind `hub`.
    pub(super) fn start(cache: BinaryCache, hub: Pool) -> (Self, Pushing) {
        let (give, taken) = mpsc::channel(WAITING);
        (Self(give), Pushing(task::spawn("push to the cache", push(cache, hub, taken))))
    }

    /// Gives outputs to be written.
    pub(super) fn push(&self, outputs: BTreeSet<StorePath>) {
        if self.0.try_send(outputs).is_err() {
            tracing::warn!("too much waits for the binary cache; some outputs are not written there");
        }
    }
}

impl Pushing {
    /// Waits until all is written that was given. All who could give more must be gone.
    pub(super) async fn finish(self) -> Result<(), EngineError> {
        Ok(self.0.join().await?)
    }
}

async fn push(cache: BinaryCache, hub: Pool, mut taken: mpsc::Receiver<BTreeSet<StorePath>>) {
    let mut together = Vec::new();
    let mut connection: Option<Connection> = None;
    while taken.recv_many(&mut together, TOGETHER).await > 0 {
        let paths: BTreeSet<StorePath> = together.drain(..).flatten().collect();
        let mut open = match connection.take() {
            Some(open) => open,
            None => match hub.take().await {
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(%error, "outputs are not written to the binary cache");
                    continue;
                }
            },
        };
        match cache.push_paths(&mut open.client, &paths).await {
            Ok(pushed) => {
                tracing::debug!(
                    written = pushed.written,
                    before = pushed.before,
                    "wrote to the binary cache"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "outputs are not in the binary cache; builders build or fetch them otherwise");
            }
        }
        connection = Some(open).filter(|open| open.client.is_usable());
    }
}
