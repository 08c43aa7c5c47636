//! The croft processes that share the state directory.
//!
//! A process is alive as long as it holds the lock on its file: the kernel frees it at any kind of death, so nothing
//! has to be renewed and no clock is asked.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{Db, DbError, column, error::Place, writer};
use crate::{clock::Timestamp, ids::OwnerId, task};

/// How the names of lock files end.
const LOCK: &str = "lock";

/// Proof that this process is registered and alive. Dropping it is the end of the owner: what it still holds is
/// taken over by the next sweep.
#[derive(Debug)]
pub struct OwnerGuard {
    id: OwnerId,
    path: PathBuf,
    _lock: File,
}

impl OwnerGuard {
    /// The owner.
    pub fn id(&self) -> OwnerId {
        self.id
    }
}

impl Drop for OwnerGuard {
    fn drop(&mut self) {
        // The lock is freed when the file is closed; a file that stays behind is removed by the sweep.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Db {
    /// Registers this process as an owner of runs and builds.
    pub async fn owner_register(&self) -> Result<OwnerGuard, DbError> {
        let now = self.clock.now();
        let id = OwnerId::new(now);
        let directory = self.owners.clone();
        let guard = blocking(move || lock_new(&directory, id)).await??;
        self.write(Register { id, pid: std::process::id(), now }).await?;
        Ok(guard)
    }

    /// Whether the process that registered as `owner` still lives.
    pub async fn owner_is_alive(&self, owner: OwnerId) -> Result<bool, DbError> {
        let directory = self.owners.clone();
        blocking(move || is_locked(&lock_path(&directory, owner))).await?
    }

    /// The registered owners that are dead.
    pub(super) async fn owner_list_dead(&self) -> Result<Vec<OwnerId>, DbError> {
        let failed = self.place.failed("listing the owners");
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM owner WHERE ended IS NULL ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let parse = |id: &String| column::Row { table: "owner", id }.text("id", id);
        let ids = ids.iter().map(parse).collect::<Result<Vec<OwnerId>, DbError>>()?;
        let directory = self.owners.clone();
        blocking(move || list_dead(&directory, ids)).await?
    }

    /// Removes the lock files that nobody holds.
    pub(super) async fn owner_remove_files(&self) -> Result<(), DbError> {
        let directory = self.owners.clone();
        blocking(move || remove_unlocked(&directory)).await?
    }
}

struct Register {
    id: OwnerId,
    pid: u32,
    now: Timestamp,
}

impl writer::Write for Register {
    type Output = ();

    async fn apply(&self, txn: &mut writer::Txn<'_>) -> Result<(), DbError> {
        sqlx::query("INSERT INTO owner (id, pid, started) VALUES (?, ?, ?)")
            .bind(self.id.to_string())
            .bind(self.pid)
            .bind(column::time(self.now))
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("registering this process"))?;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DbError> {
    task::blocking("db-owner", work).await.map_err(|error| DbError::Task(error.to_string()))
}

fn lock_path(directory: &Path, owner: OwnerId) -> PathBuf {
    directory.join(format!("{owner}.{LOCK}"))
}

fn lock_new(directory: &Path, id: OwnerId) -> Result<OwnerGuard, DbError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(Place::io(directory))?;
    let path = lock_path(directory, id);
    loop {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let mut file = opened.map_err(Place::io(&path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| Place::io(&path)(error.into()))?;
        // A sweep may have removed the file before it was locked. Once it is locked nobody does.
        if path.exists() {
            writeln!(file, "{}", std::process::id()).map_err(Place::io(&path))?;
            return Ok(OwnerGuard { id, path, _lock: file });
        }
    }
}

/// A file is removed under its own lock, so never one that its owner has locked.
fn remove_unlocked(directory: &Path) -> Result<(), DbError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Place::io(directory)(error)),
    };
    for entry in entries {
        let path = entry.map_err(Place::io(directory))?.path();
        if path.extension().is_none_or(|extension| extension != LOCK) {
            continue;
        }
        // What cannot be opened is gone: another process sweeps too.
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

fn list_dead(directory: &Path, owners: Vec<OwnerId>) -> Result<Vec<OwnerId>, DbError> {
    let mut dead = Vec::new();
    for owner in owners {
        if !is_locked(&lock_path(directory, owner))? {
            dead.push(owner);
        }
    }
    Ok(dead)
}

/// Whether somebody holds the lock. Asks for a shared lock, so that two who ask do not take each other for the owner.
fn is_locked(path: &Path) -> Result<bool, DbError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Place::io(path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(true),
        Err(error) => Err(Place::io(path)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_as_long_as_its_guard() {
        let directory = tempfile::tempdir().unwrap();
        let id = OwnerId::new(Timestamp::from_millis(1));
        let guard = lock_new(directory.path(), id).unwrap();
        let path = lock_path(directory.path(), id);
        assert!(is_locked(&path).unwrap());
        assert!(is_locked(&path).unwrap(), "asking does not free it");
        drop(guard);
        assert!(!is_locked(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_nobody_locks_is_of_a_dead_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let other = directory.path().join("README");
        std::fs::write(&path, "1\n").unwrap();
        std::fs::write(&other, "mine").unwrap();
        assert!(!is_locked(&path).unwrap());
        let guard = lock_new(directory.path(), OwnerId::new(Timestamp::from_millis(1))).unwrap();
        remove_unlocked(directory.path()).unwrap();
        assert!(!path.exists() && guard.path.exists() && other.exists());
    }
}
