//! What a daemon says while it works: log lines and activities.
//!
//! Layer 0. Everything in these events was written by builders or their dependencies: treat it as hostile.

use std::future::Future;

use tokio::io::AsyncRead;

use super::error::DaemonError;
use crate::nix::wire::{Reader, WireError};
use crate::nix::{DrvPath, StoreDir};

/// Names an activity within one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId(pub u64);

/// What an activity does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActivityKind {
    /// One derivation is built.
    Build,
    /// A path is fetched from a substituter.
    Substitute,
    /// A file is downloaded.
    FileTransfer,
    /// A path is copied between stores.
    CopyPath,
    /// A build waits for a slot or a lock.
    BuildWaiting,
    /// Any other, by Nix's number.
    Other(u64),
}

impl ActivityKind {
    fn from_wire(code: u64) -> Self {
        match code {
            105 => Self::Build,
            108 => Self::Substitute,
            101 => Self::FileTransfer,
            100 => Self::CopyPath,
            111 => Self::BuildWaiting,
            other => Self::Other(other),
        }
    }
}

/// A value attached to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogField {
    /// A number.
    Int(u64),
    /// A text.
    Text(Vec<u8>),
}

/// The beginning of an activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its name for later events.
    pub id: ActivityId,
    /// The activity that it is part of; 0 for none.
    pub parent: ActivityId,
    /// Nix's verbosity level.
    pub level: u64,
    /// What it does.
    pub kind: ActivityKind,
    /// What it does, in words.
    pub text: Vec<u8>,
    /// More, depending on the kind.
    pub fields: Vec<LogField>,
}

impl Activity {
    /// The derivation that is built, if that is what it does.
    pub fn built_drv(&self, store_dir: &StoreDir) -> Option<DrvPath> {
        match (self.kind, self.fields.first()) {
            (ActivityKind::Build, Some(LogField::Text(path))) => {
                DrvPath::new(store_dir.parse_path(path).ok()?).ok()
            }
            _ => None,
        }
    }
}

/// One thing that a daemon said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// A line of the daemon itself.
    Line {
        /// Its bytes.
        text: Vec<u8>,
    },
    /// An activity begins.
    Start(Activity),
    /// An activity ends.
    Stop {
        /// Which one.
        activity: ActivityId,
    },
    /// A line that a builder wrote.
    BuildLog {
        /// The build.
        activity: ActivityId,
        /// The line without its newline.
        line: Vec<u8>,
    },
    /// A build enters a phase.
    Phase {
        /// The build.
        activity: ActivityId,
        /// The phase's name, as the builder gave it.
        phase: Vec<u8>,
    },
    /// How far an activity is.
    Progress {
        /// Which one.
        activity: ActivityId,
        /// Units done.
        done: u64,
        /// Units in all.
        expected: u64,
        /// Units being worked on.
        running: u64,
        /// Units failed.
        failed: u64,
    },
    /// Any other result of an activity.
    Other {
        /// Which one.
        activity: ActivityId,
        /// Nix's number for it.
        code: u64,
        /// What belongs to it.
        fields: Vec<LogField>,
    },
}

/// Takes what a daemon says. The daemon is held up while `event` is pending, so a bounded channel may be behind it.
pub trait LogSink: Send {
    /// Takes one event. Must not fail; a sink that wants no more drops what comes.
    fn event(&mut self, event: LogEvent) -> impl Future<Output = ()> + Send;
}

/// Drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl LogSink for Discard {
    async fn event(&mut self, _event: LogEvent) {}
}

/// Calls a function for each event.
#[derive(Debug, Clone)]
pub struct OnEvent<F>(pub F);

impl<F: FnMut(LogEvent) + Send> LogSink for OnEvent<F> {
    async fn event(&mut self, event: LogEvent) {
        (self.0)(event);
    }
}

/// Keeps everything; for tests and short operations.
impl LogSink for Vec<LogEvent> {
    async fn event(&mut self, event: LogEvent) {
        self.push(event);
    }
}

/// Waits for room in the channel. A closed channel drops what comes.
impl LogSink for tokio::sync::mpsc::Sender<LogEvent> {
    async fn event(&mut self, event: LogEvent) {
        let _closed = self.send(event).await;
    }
}

impl<S: LogSink> LogSink for &mut S {
    async fn event(&mut self, event: LogEvent) {
        S::event(self, event).await;
    }
}

/// One message of the stream that comes before a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Something for the log.
    Log(LogEvent),
    /// The operation failed; no reply follows.
    Error(DaemonError),
    /// The reply follows.
    Last,
}

pub(super) const ERROR: u64 = 0x6378_7470;
const NEXT: u64 = 0x6f6c_6d67;
const START_ACTIVITY: u64 = 0x5354_5254;
const STOP_ACTIVITY: u64 = 0x5354_4f50;
const RESULT: u64 = 0x5253_4c54;
const LAST: u64 = 0x616c_7473;

impl Message {
    /// Reads one message.
    pub async fn decode<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Self, WireError> {
        reader.start_message();
        match reader.u64("message tag").await? {
            NEXT => Ok(Self::Log(LogEvent::Line { text: reader.bytes("log line").await? })),
            START_ACTIVITY => Ok(Self::Log(LogEvent::Start(decode_activity(reader).await?))),
            STOP_ACTIVITY => {
                let activity = ActivityId(reader.u64("activity id").await?);
                Ok(Self::Log(LogEvent::Stop { activity }))
            }
            RESULT => Ok(Self::Log(decode_result(reader).await?)),
            ERROR => Ok(Self::Error(decode_error(reader).await?)),
            LAST => Ok(Self::Last),
            other => Err(WireError::bad_number("message tag", other)),
        }
    }
}

/// Reads what follows an error tag.
pub(super) async fn decode_error<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
) -> Result<DaemonError, WireError> {
    let kind = reader.bytes("error type").await?;
    if kind != b"Error" {
        return Err(WireError::bad_value("error type", kind));
    }
    let level = reader.u64("error level").await?;
    reader.bytes("error name").await?;
    let message = reader.bytes("error message").await?;
    no_position(reader).await?;
    let mut traces = Vec::new();
    for _ in 0..reader.count("error traces").await? {
        no_position(reader).await?;
        traces.push(reader.bytes("error trace").await?);
    }
    Ok(DaemonError { level, message, traces })
}

async fn no_position<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<(), WireError> {
    match reader.u64("error position").await? {
        0 => Ok(()),
        other => Err(WireError::bad_number("error position", other)),
    }
}

async fn decode_activity<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Activity, WireError> {
    Ok(Activity {
        id: ActivityId(reader.u64("activity id").await?),
        level: reader.u64("activity level").await?,
        kind: ActivityKind::from_wire(reader.u64("activity type").await?),
        text: reader.bytes("activity text").await?,
        fields: decode_fields(reader).await?,
        parent: ActivityId(reader.u64("activity parent").await?),
    })
}

async fn decode_fields<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Vec<LogField>, WireError> {
    let mut fields = Vec::new();
    for _ in 0..reader.count("log fields").await? {
        fields.push(match reader.u64("log field type").await? {
            0 => LogField::Int(reader.u64("log field").await?),
            1 => LogField::Text(reader.bytes("log field").await?),
            other => return Err(WireError::bad_number("log field type", other)),
        });
        if fields.len() > MAX_FIELDS {
            return Err(WireError::bad_number("number of log fields", fields.len() as u64));
        }
    }
    Ok(fields)
}

/// Nix sends at most four.
const MAX_FIELDS: usize = 1024;

async fn decode_result<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<LogEvent, WireError> {
    let activity = ActivityId(reader.u64("activity id").await?);
    let code = reader.u64("activity result type").await?;
    let mut fields = decode_fields(reader).await?;
    let event = match (code, fields.as_mut_slice()) {
        (101, [LogField::Text(line), ..]) => LogEvent::BuildLog { activity, line: std::mem::take(line) },
        (104, [LogField::Text(phase), ..]) => LogEvent::Phase { activity, phase: std::mem::take(phase) },
        (
            105,
            [LogField::Int(done), LogField::Int(expected), LogField::Int(running), LogField::Int(failed), ..],
        ) => LogEvent::Progress {
            activity,
            done: *done,
            expected: *expected,
            running: *running,
            failed: *failed,
        },
        _ => LogEvent::Other { activity, code, fields },
    };
    Ok(event)
}
