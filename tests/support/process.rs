//! Processes, found by what they were started with.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// A process, and what it was started with.
pub(crate) struct Process {
    pid: i32,
    /// Its arguments, each followed by a zero.
    arguments: Vec<u8>,
    /// Its environment, each variable followed by a zero.
    environment: Vec<u8>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pid, self.words())
    }
}

impl Process {
    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Its command line.
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&self.arguments).replace('\0', " ")
    }

    /// Whether `variable`, as `NAME=VALUE`, is in its environment.
    pub(crate) fn has_variable(&self, variable: &str) -> bool {
        self.environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        // One that is gone already is what was wanted.
        let _ = kill_process(Pid::from_raw(self.pid).unwrap(), Signal::KILL);
    }
}

/// All living processes but this one that mention `path`.
pub(crate) fn mentioning(path: &Path) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap();
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| number(&entry.file_name()));
    let read = |pid: i32| {
        let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        Process { pid, arguments: read("cmdline"), environment: read("environ") }
    };
    let needle = path.as_os_str().as_bytes();
    let mentions = |process: &Process| {
        [&process.arguments, &process.environment]
            .iter()
            .any(|text| text.windows(needle.len()).any(|part| part == needle))
    };
    numbers.filter(|pid| *pid != own).map(read).filter(mentions).collect()
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}
