//! Ctrl-C and termination: the first is a wish, the second an order.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{CliError, INTERRUPTED};
use crate::task;

/// What the user's interrupts ask for.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupts {
    /// The first: stop, in order.
    pub(super) stop: CancellationToken,
    leave: CancellationToken,
}

impl Interrupts {
    /// Watches for them from now on.
    pub(super) fn watch() -> Self {
        let interrupts = Self::default();
        let Self { stop, leave } = interrupts.clone();
        task::spawn("signals", async move {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                tracing::warn!("signals cannot be watched; an interrupt will end croft at once");
                return;
            };
            for token in [stop, leave] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        interrupts
    }

    /// Does the work, or leaves it at once at the second interrupt: what runs is ended by the daemon when our
    /// connection closes, and what is not recorded is taken up by the next run.
    pub(super) async fn guard(
        &self,
        work: impl Future<Output = Result<u8, CliError>>,
    ) -> Result<u8, CliError> {
        tokio::select! {
            done = work => done,
            () = self.leave.cancelled() => Ok(INTERRUPTED),
        }
    }
}
