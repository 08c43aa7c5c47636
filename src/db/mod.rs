//! The facts: runs, cells, builds, attempts and tests, in one `SQLite` file. Edge layer; the only place with SQL.
//!
//! One file per noun. Reads come from a small pool; every change goes through the one writer task of this process
//! (`writer`), several processes share the file (`owner`). Absent: logs, which are files, and any decision about
//! what a fact means, which is `report`'s and `plan`'s.

mod attempt;
mod attempt_row;
mod build;
mod cell;
mod check;
mod column;
mod error;
mod eval_cache;
mod history;
mod list;
mod machine;
mod machine_change;
mod machine_event;
mod machine_row;
mod open;
mod owner;
mod run;
mod sheet;
mod sweep;
mod test;
mod waiting;
mod writer;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::SqlitePool;

pub use attempt::{AttemptEnd, AttemptStart, BuildNext, LogEnd};
pub use attempt_row::{Attempt, Origin};
pub use build::{Adoption, Begun, Claim, FirstAttempt, NewBuild};
pub use cell::CellRecord;
pub use check::Finding;
pub use error::DbError;
pub use machine::{MachineLife, MachinePulse, NewMachine, Recorded};
pub use machine_change::MachineChange;
pub use machine_event::MachineEvent;
pub use machine_row::MachineRecord;
pub use owner::OwnerGuard;
pub use run::{Fingerprint, NewRun, Project, RunRecord, Totals};
pub use sweep::Recovered;
pub use test::FoundTest;
pub use waiting::Waiting;
pub use writer::WriteStats;

use crate::{clock::SharedClock, task};
use error::Place;
use writer::{Write, Writer};

/// Where the database is and how patient its users are.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The database file; it and its directory are made when missing.
    pub path: PathBuf,
    /// The directory of the owners' lock files.
    pub owners: PathBuf,
    /// How long to wait for a lock that another process holds. Default: 30 s.
    pub busy_timeout: Duration,
}

impl DbOptions {
    /// The usual places below a state directory: `croft.db` and `owners/`.
    pub fn in_state_dir(state: &Path) -> Self {
        Self {
            path: state.join("croft.db"),
            owners: state.join("owners"),
            busy_timeout: Duration::from_secs(30),
        }
    }
}

/// A handle on the database. Clones share the pool and the writer.
#[derive(Clone)]
pub struct Db {
    pool: SqlitePool,
    writer: Writer,
    place: Place,
    owners: PathBuf,
    clock: SharedClock,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.place.path()).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database, making it or bringing its schema up to date first.
    ///
    /// Must be called within a tokio runtime: the writer task lives there.
    pub async fn open(options: DbOptions, clock: SharedClock) -> Result<Self, DbError> {
        let path = options.path.clone();
        task::blocking("db-file", move || open::prepare_file(&path))
            .await
            .map_err(|error| DbError::Task(error.to_string()))??;
        let place = Place::new(&options.path);
        let connect = open::writer_options(&options.path);
        let conn = open::connect(&connect, &place, options.busy_timeout).await?;
        let writer = Writer::start(conn, connect, place.clone(), options.busy_timeout);
        let pool = open::readers(&options.path, options.busy_timeout);
        Ok(Self { pool, writer, place, owners: options.owners, clock })
    }

    /// How much this process has written through this handle and its clones.
    pub fn write_stats(&self) -> WriteStats {
        self.writer.stats()
    }

    /// Makes a change and returns when it is on the disk.
    async fn write<W: Write>(&self, write: W) -> Result<W::Output, DbError> {
        self.writer.write(write).await
    }
}
