//! One process of a virtual machine, known by its number, its start and the boot of this machine: a number that was
//! given to somebody else meanwhile is never mistaken for it.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often croft looks whether a process is gone.
const LOOK: Duration = Duration::from_millis(20);

/// A process that was started once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    /// When it was started, in clock ticks since the boot.
    start: u64,
    /// The boot in which that was.
    boot: String,
    /// The port on this machine behind which its guest's sshd is.
    port: u16,
}

impl Process {
    /// The process that a run directory's file names; none if the file is not one of a started process.
    pub(super) fn read(file: &Path) -> Option<Self> {
        let text = fs_err::read_to_string(file).ok()?;
        let mut words = text.split_whitespace();
        let process = Self {
            pid: words.next()?.parse().ok()?,
            start: words.next()?.parse().ok()?,
            boot: words.next()?.to_owned(),
            port: words.next()?.parse().ok()?,
        };
        (process.pid > 0).then_some(process)
    }

    /// The port on this machine behind which its guest's sshd is.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it runs. One that is dead but not yet waited for does not.
    pub(super) fn is_alive(&self) -> bool {
        boot_id() == self.boot && stat(self.pid).is_some_and(|now| now.start == self.start && now.runs)
    }

    /// Ends it at once, and nobody else.
    pub(super) fn kill(&self) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        // What is held is one process, whatever becomes of its number; then it is looked at.
        let held = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            held => held?,
        };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(held, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// Waits until it is gone, but not longer than `limit`; whether it is.
    pub(super) fn is_gone_within(&self, limit: Duration) -> bool {
        let begin = Instant::now();
        while self.is_alive() {
            if begin.elapsed() > limit {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

/// This boot of this machine.
pub(super) fn boot_id() -> String {
    fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

struct Stat {
    start: u64,
    runs: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also blanks and parentheses.
    let words: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some(Stat { runs: !matches!(*words.first()?, "Z" | "X"), start: words.get(19)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Process {
        let pid = i32::try_from(std::process::id()).unwrap();
        Process { pid, start: stat(pid).unwrap().start, boot: boot_id(), port: 22 }
    }

    #[test]
    fn a_process_is_more_than_its_number() {
        assert!(own().is_alive());
        assert!(!Process { start: own().start + 1, ..own() }.is_alive());
        assert!(!Process { boot: "another".to_owned(), ..own() }.is_alive());
    }

    #[test]
    fn another_process_with_the_same_number_is_not_killed() {
        // It would be this one.
        Process { start: own().start + 1, ..own() }.kill().unwrap();
        Process { pid: i32::MAX - 1, ..own() }.kill().unwrap();
    }

    #[test]
    fn a_file_that_names_no_process_gives_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("process");
        for text in ["", "0 0 none 1", "12 1 b", "x y z 1", "-5 3 b 1", "5 3 b 70000"] {
            fs_err::write(&file, text).unwrap();
            assert_eq!(Process::read(&file), None, "{text:?}");
        }
    }
}
