//! The run directory of one virtual machine: all that is known of it, so that any croft finds it again.
//!
//! ```text
//! <root>/<machine>/machine.json   what was ordered; the directory appears with it, at once
//!                  user-data      the keys, for the owner alone
//!                  disk.ext4      the disk of its store
//!                  process        number, start and boot of the process, and the port on this machine that leads to
//!                                 its sshd; written by that process itself before it becomes qemu
//!                  qmp console.log qemu.err
//!                  stopping       since when it is told to stop; it stays while the machine sleeps
//!                  ended          since when it is known to be over, and why
//! ```
//!
//! `process` is created only where there is none. So two launches of one machine start one process, even if a croft
//! is killed in between.

use std::{
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::{
    clock::Timestamp,
    config::PoolName,
    ids::{FarmId, MachineId},
};

/// `machine.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The version of this file: 1.
    pub(super) v: u32,
    pub(super) farm: FarmId,
    pub(super) machine: MachineId,
    pub(super) pool: PoolName,
    pub(super) name: String,
    pub(super) launched: Timestamp,
}

/// `ended`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) at: Timestamp,
    pub(super) why: String,
}

/// What the files and `/proc` say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Ordered, but no process has been started.
    Ordered,
    /// Its process runs.
    Running(Process),
    /// Its process runs and has been told to stop.
    Stopping(Process),
    /// It was told to stop, and did.
    Stopped,
    /// Its process has ended by itself.
    Dead,
}

/// One run directory.
#[derive(Debug, Clone)]
pub(super) struct RunDir {
    path: PathBuf,
}

/// The right to change a run directory, against all other tasks and processes.
#[derive(Debug)]
pub(super) struct Locked {
    _handle: fs_err::File,
}

impl RunDir {
    /// That of `machine`, whether it is there or not.
    pub(super) fn of(root: &Path, machine: MachineId) -> Self {
        Self { path: root.join(machine.to_string()) }
    }

    /// All of `root`. What a croft that was killed has left half made is removed, unless another is at work here.
    pub(super) fn all(root: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs_err::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let handle = fs_err::File::open(root)?;
        if flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_leftovers(root)?;
        }
        drop(handle);
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let is_machine = entry.file_name().to_str().is_some_and(|name| name.parse::<MachineId>().is_ok());
            found.extend(is_machine.then(|| Self { path: entry.path() }));
        }
        Ok(found)
    }

    /// Makes one with all it needs before it gets its name; false if there is one already.
    pub(super) fn create(
        root: &Path,
        record: &Record,
        user_data: &str,
        make_disk: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<bool> {
        let _lock = Self::lock_root(root)?;
        let target = Self::of(root, record.machine);
        if target.path.exists() {
            return Ok(false);
        }
        let new = root.join(format!(".new-{}", record.machine));
        fs_err::create_dir(&new)?;
        let made = (|| {
            fs_err::write(new.join("machine.json"), serde_json::to_vec(record)?)?;
            let mut keys = std::fs::File::options();
            let mut keys = keys.write(true).create_new(true).mode(0o600).open(new.join("user-data"))?;
            io::Write::write_all(&mut keys, user_data.as_bytes())?;
            make_disk(&new.join("disk.ext4"))?;
            fs_err::rename(&new, &target.path)
        })();
        if made.is_err() {
            // What is left would be swept by the next launch.
            let _ = fs_err::remove_dir_all(&new);
        }
        made.map(|()| true)
    }

    /// Locks the whole root for the making and sweeping of directories, and removes what earlier ones have left.
    fn lock_root(root: &Path) -> io::Result<Locked> {
        fs_err::create_dir_all(root)?;
        rustix::fs::chmod(root, rustix::fs::Mode::from_raw_mode(0o700))?;
        let handle = fs_err::File::open(root)?;
        flock(&handle, FlockOperation::LockExclusive)?;
        remove_leftovers(root)?;
        Ok(Locked { _handle: handle })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits for the right to change it; none if it is gone meanwhile.
    pub(super) fn lock(&self) -> io::Result<Option<Locked>> {
        self.locked(FlockOperation::LockExclusive)
    }

    /// The right to change it, if nobody has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<Locked>> {
        self.locked(FlockOperation::NonBlockingLockExclusive)
    }

    fn locked(&self, how: FlockOperation) -> io::Result<Option<Locked>> {
        let handle = match fs_err::File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            handle => handle?,
        };
        match flock(&handle, how) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        // It may have been removed while this waited.
        Ok(self.path.join("machine.json").exists().then_some(Locked { _handle: handle }))
    }

    /// What was ordered; none if it is gone.
    pub(super) fn record(&self) -> io::Result<Option<Record>> {
        match fs_err::read(self.file("machine.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        }
    }

    /// What has become of it.
    pub(super) fn look(&self) -> Seen {
        let is_stopping = self.file("stopping").exists();
        let file = self.file("process");
        match (Process::read(&file), is_stopping) {
            (Some(process), false) if process.is_alive() => Seen::Running(process),
            (Some(process), true) if process.is_alive() => Seen::Stopping(process),
            (_, true) => Seen::Stopped,
            (Some(_), false) => Seen::Dead,
            (None, false) if self.file("ended").exists() => Seen::Dead,
            (None, false) => Seen::Ordered,
        }
    }

    /// Sees to it that no process can start here any more.
    pub(super) fn forbid_start(&self, _lock: &Locked) -> io::Result<()> {
        match std::fs::File::options().write(true).create_new(true).open(self.file("process")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a file that may not be there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs_err::remove_file(self.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Since when it is over and why, if that is known.
    pub(super) fn ended(&self) -> Option<Ended> {
        serde_json::from_slice(&fs_err::read(self.file("ended")).ok()?).ok()
    }

    /// Notes that it is over, and frees what it held; words for a person stay.
    pub(super) fn end(&self, _lock: &Locked, ended: &Ended) -> io::Result<()> {
        fs_err::write(self.file("ended"), serde_json::to_vec(ended)?)?;
        for name in ["disk.ext4", "user-data", "qmp"] {
            self.remove(name)?;
        }
        Ok(())
    }

    /// Removes all of it.
    pub(super) fn destroy(&self, _lock: Locked) -> io::Result<()> {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let gone = self.path.with_file_name(format!(".gone-{name}"));
        fs_err::rename(&self.path, &gone)?;
        fs_err::remove_dir_all(gone)
    }
}

/// Removes what was half made or half removed. Whoever calls it holds the lock of the root.
fn remove_leftovers(root: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(".new-") || name.starts_with(".gone-")) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
