//! The log of an attempt on its way from the builder: to the file, the report and the renderers.

use std::{path::Path, time::Duration};

use super::event::{Event, Events};
use crate::{
    ids::AttemptId,
    logs::{LogError, LogLimits, LogSummary, LogWriter},
    remote::BuildLog,
    report::{Colours, Limits, LineKind, ReportCollector, TestReport, terminal_line},
};

/// The longest phase name that is shown, in characters.
const MAX_PHASE: usize = 60;

/// What a log came to.
#[derive(Debug)]
pub(super) struct Tapped {
    pub(super) summary: LogSummary,
    pub(super) report: TestReport,
}

/// Takes a build's log.
pub(super) struct Tap {
    attempt: AttemptId,
    writer: LogWriter,
    collector: ReportCollector,
    events: Events,
    failed: Option<LogError>,
}

impl Tap {
    pub(super) fn new(dir: &Path, attempt: AttemptId, keep: u64, events: Events) -> Self {
        let limits = LogLimits { max_bytes: keep, ..LogLimits::default() };
        Self {
            attempt,
            writer: LogWriter::create(dir, attempt, limits),
            collector: ReportCollector::new(Limits::default()),
            events,
            failed: None,
        }
    }

    /// Ends the log: when this returns, it is on the disk. Blocks.
    pub(super) fn finish(self) -> Result<Tapped, LogError> {
        let report = self.collector.finish();
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Tapped { summary: self.writer.finish()?, report }),
        }
    }

    fn keep(&mut self, result: Result<(), LogError>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// Live events are for eyes only: a renderer that is behind misses some, a run never waits for it here.
    fn tell(&self, event: Event) {
        self.events.try_send(event).ok();
    }
}

impl BuildLog for Tap {
    fn line(&mut self, line: &[u8]) {
        match self.collector.line(line) {
            LineKind::Shown => {
                let written = self.writer.append(line);
                self.keep(written);
            }
            LineKind::Taken(Some(test)) => self.tell(Event::Test { attempt: self.attempt, test }),
            LineKind::Taken(None) => {}
        }
    }

    fn phase(&mut self, name: &[u8]) {
        let name = terminal_line(name, Colours::Drop, MAX_PHASE);
        self.tell(Event::Phase { attempt: self.attempt, name });
    }

    fn tick(&mut self) -> Result<(), String> {
        let flushed = self.writer.flush();
        self.keep(flushed);
        match &self.failed {
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        }
    }
}

/// How long to wait before the next attempt after `failures` in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(500) * 3u32.saturating_pow(failures.saturating_sub(1).min(4))
}
