//! A conversation with a daemon, and what it goes through.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::process::Child;

use super::ssh::Hold;
use crate::{nix::daemon::BoxedClient, task};

/// How long a daemon of ours may take to end after its input has closed.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// A greeted daemon. Dropping it hangs up, and Nix ends whatever it was building for us.
pub struct Connection {
    /// The conversation.
    pub client: BoxedClient,
    behind: Behind,
    life: Arc<Life>,
}

/// What a conversation goes through, and ends with it.
#[derive(Debug)]
pub(super) enum Behind {
    /// A socket, which is its own.
    Socket,
    /// A daemon of ours.
    Daemon(Option<Child>),
    /// A channel to another machine.
    Ssh(Hold),
}

/// Is there as long as the connection.
#[derive(Debug)]
pub(super) struct Life;

impl Connection {
    pub(super) fn new(client: BoxedClient, behind: Behind) -> Self {
        Self { client, behind, life: Arc::new(Life) }
    }

    /// Tells later whether this connection still lives, and so whether what it protects is safe.
    pub(super) fn life(&self) -> Weak<Life> {
        Arc::downgrade(&self.life)
    }

    /// Whether another operation can be begun, as far as one can tell without asking.
    pub(super) fn is_usable(&mut self) -> bool {
        self.client.is_usable()
            && match &mut self.behind {
                Behind::Socket => true,
                Behind::Daemon(child) => {
                    child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None)))
                }
                Behind::Ssh(hold) => hold.is_alive(),
            }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    /// The client goes with this value, so the daemon's input closes; here somebody waits for the daemon to see it.
    fn drop(&mut self) {
        let Behind::Daemon(child) = &mut self.behind else { return };
        let Some(mut child) = child.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        task::spawn("reap daemon", async move {
            if tokio::time::timeout(LAST_BREATH, child.wait()).await.is_err() {
                child.kill().await.ok();
            }
        });
    }
}
