//! What can go wrong with the database, in words that name the file and the next step.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    ids::{AttemptId, BuildId},
    lifecycle::IllegalTransition,
};

/// A database that cannot be used, or a change that it refuses.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// The file, its directory or a lock file cannot be made or opened.
    #[error(
        "cannot open {path}: {source}; check that the state directory exists and is writable, or set CROFT_STATE_DIR"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<std::io::Error>,
    },
    /// `SQLite` cannot open the file.
    #[error("cannot open the database {path}: {source}; check its owner and mode and those of its directory")]
    Connect {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<sqlx::Error>,
    },
    /// The file is no `SQLite` database.
    #[error(
        "{path} is not a database; move it away so that croft makes a new one, or restore it from a copy"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program.
    #[error(
        "{path} is a database, but not croft's (application id {found:#x}); point CROFT_STATE_DIR elsewhere"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The application id found.
        found: i64,
    },
    /// The schema is newer than this croft.
    #[error(
        "{path} has schema {found}, this croft knows schemas up to {known}: run the newer croft that wrote it, or restore an older backup"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema found.
        found: i64,
        /// The newest schema known.
        known: i64,
    },
    /// The schema has the right number and another content.
    #[error(
        "{path} was migrated by another build of croft (schema {version} differs): run that croft, or restore a backup"
    )]
    Diverged {
        /// The file.
        path: PathBuf,
        /// The schema that differs.
        version: i64,
    },
    /// The file is damaged.
    #[error("{path} is damaged ({source}); stop croft, keep a copy, and restore an earlier copy")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<sqlx::Error>,
    },
    /// The file or its file system takes no writes.
    #[error(
        "{path} is read-only; make the file and its directory writable for this user, or set CROFT_STATE_DIR"
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full. Nothing of the change was kept.
    #[error(
        "no space left for {path}; free space on its disk and try again: nothing of this change was kept"
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed. The change may or may not have been kept.
    #[error("the disk failed under {path} ({source}); check it (`dmesg`), then run `croft fsck`")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<sqlx::Error>,
    },
    /// Another process kept the database locked.
    #[error("another process kept {path} locked for {waited:?}; find it with `fuser {path}` and stop it or wait", path = .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// How long croft waited.
        waited: Duration,
    },
    /// The task that writes has ended.
    #[error("the writer of {path} has stopped; restart croft: what it had confirmed is kept")]
    WriterGone {
        /// The file.
        path: PathBuf,
    },
    /// A statement failed: a bug in croft, or a damaged file.
    #[error("{path}: {doing} failed: {source}; run `croft fsck` and report this")]
    Query {
        /// The file.
        path: PathBuf,
        /// What croft was doing.
        doing: &'static str,
        /// The cause.
        source: Arc<sqlx::Error>,
    },
    /// A column holds something that this croft cannot read.
    #[error(
        "table {table}, row {row}: column {column} holds {text:?}, which this croft does not know; it was written by a newer croft or is damaged: run `croft fsck`"
    )]
    Word {
        /// The table.
        table: &'static str,
        /// The row.
        row: String,
        /// The column.
        column: &'static str,
        /// What it holds.
        text: String,
    },
    /// No row has this id.
    #[error("there is no {kind} {id}; `{}` lists what there is", if *kind == "machine" { "croft fleet --all" } else { "croft status" })]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its id or the start of it.
        id: String,
    },
    /// Several rows have an id that starts so.
    #[error("several {kind}s start with {prefix:?} ({first} and {second}, for two); give more of the id")]
    Ambiguous {
        /// What was looked for.
        kind: &'static str,
        /// The start given.
        prefix: String,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// A run that is over is not changed.
    #[error("run {run} is {state} and does not change any more")]
    RunEnded {
        /// The run.
        run: String,
        /// Its state.
        state: String,
    },
    /// A terminal attempt is not changed: its outcome was recorded before.
    #[error("attempt {attempt} has ended already as {outcome}; the second outcome was not recorded")]
    AttemptEnded {
        /// The attempt.
        attempt: AttemptId,
        /// The outcome on record.
        outcome: String,
    },
    /// The build belongs to another process, or is over.
    #[error(
        "build {build} is not held by this croft process; it was taken over or has ended: claim it again"
    )]
    NotHeld {
        /// The build.
        build: BuildId,
    },
    /// A build was to make a move that it cannot.
    #[error("build {build}: {source}")]
    Transition {
        /// The build.
        build: BuildId,
        /// The move.
        source: IllegalTransition,
    },
    /// Cells cannot be put into words.
    #[error(
        "the cells of run {run} cannot be written as JSON ({cause}); this is a bug in croft, please report it"
    )]
    Cells {
        /// The run.
        run: String,
        /// The cause.
        cause: String,
    },
    /// A stored document cannot be read.
    #[error("the cached evaluation of {fingerprint} cannot be read ({cause}); it is not used")]
    Document {
        /// The fingerprint.
        fingerprint: String,
        /// The cause.
        cause: String,
    },
    /// A task of croft's own failed.
    #[error("{0}")]
    Task(String),
}

/// The database file, for the sake of errors that name it.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Path>);

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Turns a failure while `doing` something into an error with a name.
    pub(super) fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> DbError {
        let place = self.clone();
        move |source| place.classify(doing, source)
    }

    /// Turns a failed query into an error, unless it is of a plainer class.
    pub(super) fn classify(&self, doing: &'static str, source: sqlx::Error) -> DbError {
        let path = self.0.to_path_buf();
        let code = code(&source);
        match code.map(|code| code & PRIMARY) {
            Some(SQLITE_BUSY) => DbError::Busy { path, waited: Duration::ZERO },
            Some(SQLITE_READONLY) => DbError::ReadOnly { path },
            // The index of the log that readers share is the one file whose lack of room has a code of its own.
            Some(SQLITE_IOERR) if code == Some(SQLITE_IOERR_SHMSIZE) => DbError::Full { path },
            Some(SQLITE_IOERR) => DbError::Io { path, source: source.into() },
            Some(SQLITE_CORRUPT) => DbError::Corrupt { path, source: source.into() },
            Some(SQLITE_FULL) => DbError::Full { path },
            Some(SQLITE_CANTOPEN) => DbError::Connect { path, source: source.into() },
            Some(SQLITE_NOTADB) => DbError::NotADatabase { path },
            Some(_) | None => DbError::Query { path, doing, source: source.into() },
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DbError + '_ {
        move |source| match source.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => DbError::ReadOnly { path: path.to_path_buf() },
            std::io::ErrorKind::StorageFull => DbError::Full { path: path.to_path_buf() },
            _ => DbError::Open { path: path.to_path_buf(), source: source.into() },
        }
    }

    pub(super) fn gone(&self) -> DbError {
        DbError::WriterGone { path: self.0.to_path_buf() }
    }
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_IOERR_SHMSIZE: u32 = SQLITE_IOERR | 19 << 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_NOTADB: u32 = 26;

/// The part of `SQLite`'s result codes without their extension.
const PRIMARY: u32 = 0xff;

fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}
