//! A conversation with a daemon, and the daemon itself where it is ours.

use std::time::Duration;

use tokio::process::Child;

use crate::{nix::daemon::BoxedClient, task};

/// How long a daemon of ours may take to end after its input has closed.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// A greeted daemon. Dropping it hangs up, and Nix ends whatever it was building for us.
pub struct Connection {
    /// The conversation.
    pub client: BoxedClient,
    child: Option<Child>,
}

impl Connection {
    pub(super) fn new(client: BoxedClient, child: Option<Child>) -> Self {
        Self { client, child }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("child", &self.child).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    /// The client goes with this value, so the daemon's input closes; here somebody waits for the daemon to see it.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
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
