//! Moving paths between two stores, with what can go wrong on either side.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    build::says_disk_full,
    classify::{broken, dial_failed, infra},
    connection::Connection,
    dial::DialError,
};
use crate::{
    lifecycle::{AttemptOutcome, InfraCause},
    nix::daemon::{ClientError, CopyError, PathInfo, Progress, SignatureCheck},
};

/// How long a transfer may stand still.
const STALLED: Duration = Duration::from_secs(80);
/// How long a question to a daemon may take.
const ANSWER: Duration = Duration::from_secs(80);
/// How often a transfer is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// One of the two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Hub,
    Builder,
}

/// Why paths could not be moved.
#[derive(Debug)]
pub(super) enum TransferError {
    /// A store cannot be reached.
    Dial(Side, DialError),
    /// A store failed.
    Store(Side, ClientError),
    /// A store does not answer.
    Silent(Side),
    /// Nothing has moved for too long.
    Stalled,
    /// It failed again and again, each time in the hands of another task.
    GivenUp,
}

impl TransferError {
    /// The side whose disk may be full, by what was said.
    pub(super) fn complains_of_disk(&self) -> Option<Side> {
        match self {
            Self::Store(side, ClientError::Daemon(error)) if says_disk_full(&error.message) => Some(*side),
            Self::Store(..) | Self::Dial(..) | Self::Silent(_) | Self::Stalled | Self::GivenUp => None,
        }
    }

    /// Whether what came over was not what was announced.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Store(_, ClientError::Corrupt { .. }))
    }

    /// What it means for the attempt.
    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Dial(Side::Builder, error) => dial_failed(error),
            Self::Store(Side::Builder, error) => broken(error),
            // The hub is no builder: what fails there is not lost with a machine.
            Self::Dial(Side::Hub, error) => at_hub(dial_failed(error)),
            Self::Store(Side::Hub, error) => at_hub(broken(error)),
            Self::Silent(Side::Hub) => infra(InfraCause::Daemon, silent("hub")),
            Self::Silent(Side::Builder) => infra(InfraCause::ConnectionLost, silent("builder")),
            Self::Stalled => infra(
                InfraCause::ConnectionLost,
                format!("no byte was transferred for {} s", STALLED.as_secs()),
            ),
            Self::GivenUp => infra(
                InfraCause::ConnectionLost,
                "the inputs could not be sent: each of several transfers of them failed".to_owned(),
            ),
        }
    }
}

fn silent(whose: &str) -> String {
    format!("the Nix daemon of the {whose} did not answer within {} s", ANSWER.as_secs())
}

fn at_hub(outcome: AttemptOutcome) -> AttemptOutcome {
    match outcome {
        AttemptOutcome::Infra { cause, message } => {
            let cause = if cause == InfraCause::ConnectionLost { InfraCause::Daemon } else { cause };
            AttemptOutcome::Infra { cause, message: format!("at the hub: {message}") }
        }
        other => other,
    }
}

/// Waits for an answer of a daemon.
pub(super) async fn answer<T>(
    side: Side,
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, TransferError> {
    match tokio::time::timeout(ANSWER, asking).await {
        Ok(answered) => answered.map_err(|error| TransferError::Store(side, error)),
        Err(_) => Err(TransferError::Silent(side)),
    }
}

/// Copies `paths`, as long as bytes move.
pub(super) async fn copy(
    paths: &[PathInfo],
    (from, source): (Side, &mut Connection),
    (to, target): (Side, &mut Connection),
    check: SignatureCheck,
) -> Result<(), TransferError> {
    let progress = Progress::default();
    let mut copying =
        std::pin::pin!(source.client.copy_paths_to(paths, &mut target.client, check, &progress));
    let mut look = tokio::time::interval(LOOK);
    let (mut bytes, mut moved) = (0, Instant::now());
    loop {
        tokio::select! {
            biased;
            done = &mut copying => return done.map_err(|error| match error {
                CopyError::Source(error) => TransferError::Store(from, error),
                CopyError::Target(error) => TransferError::Store(to, error),
            }),
            _ = look.tick() => {
                let now = progress.bytes();
                if now != bytes {
                    (bytes, moved) = (now, Instant::now());
                } else if moved.elapsed() > STALLED {
                    return Err(TransferError::Stalled);
                }
            }
        }
    }
}
