//! Reading a log while it is written. Part of the edge `logs`.

use std::{path::Path, time::Duration};

use futures_util::{Stream, stream};

use super::{LogError, LogLine, LogReader, LogState};
use crate::{ids::AttemptId, task};

/// Lines that come at once.
const BATCH: u64 = 1_000;

/// From where and how often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follow {
    /// The number of the first line wanted, counted from 1. Default 1.
    pub from: u64,
    /// The time between two looks at a log that does not grow. Default 250 ms.
    pub every: Duration,
}

impl Default for Follow {
    fn default() -> Self {
        Self { from: 1, every: Duration::from_millis(250) }
    }
}

struct Following<E> {
    reader: LogReader,
    next: u64,
    every: Duration,
    ended: E,
}

/// The lines of a log as they come, in order and without gaps. Ends when the writer finished the log, or when
/// `ended` says that nobody writes it (any more) and all lines were read. A reading error ends it too.
pub fn follow<E>(
    dir: &Path,
    attempt: AttemptId,
    options: Follow,
    ended: E,
) -> Result<impl Stream<Item = Result<Vec<LogLine>, LogError>> + Send + use<E>, LogError>
where
    E: Fn() -> bool + Send + 'static,
{
    let reader = LogReader::open(dir, attempt)?;
    let start = Following { reader, next: options.from.max(1), every: options.every, ended };
    Ok(stream::unfold(Some(start), |state| async {
        match state?.next().await {
            Ok(Some((lines, state))) => Some((Ok(lines), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl<E: Fn() -> bool + Send + 'static> Following<E> {
    async fn next(self) -> Result<Option<(Vec<LogLine>, Self)>, LogError> {
        let Self { mut reader, next, every, ended } = self;
        loop {
            // Asked before the look: what was written before the end is then seen.
            let is_last = ended();
            let look = move || {
                let lines = reader.refresh().and_then(|()| reader.lines(next..next.saturating_add(BATCH)));
                (reader, lines)
            };
            let (looked, lines) = task::blocking("follow a log", look).await?;
            reader = looked;
            let lines = lines?;
            if let Some(last) = lines.last() {
                let next = last.number + 1;
                return Ok(Some((lines, Self { reader, next, every, ended })));
            }
            if is_last || reader.state() == LogState::Finished {
                return Ok(None);
            }
            tokio::time::sleep(every).await;
        }
    }
}
