//! The croft program, run within a time limit.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Farm, PATIENCE};

/// A call of croft that is being put together.
pub(crate) struct Croft<'a> {
    farm: &'a Farm,
    command: Command,
}

/// A croft that runs.
pub(crate) struct Running {
    child: Child,
    words: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A croft that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Done {
    /// Standard output as a JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

impl<'a> Croft<'a> {
    /// Where croft is.
    pub(crate) const PROGRAM: &'static str = env!("CARGO_BIN_EXE_croft");

    /// A call by way of `command`, which runs croft with the arguments that are added to it.
    pub(crate) fn by(farm: &'a Farm, mut command: Command, args: &[&str]) -> Self {
        command.args(args).current_dir(farm.dir().join("flake")).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CROFT_") || name.starts_with("NIX_")) {
                command.env_remove(name);
            }
        }
        command
            .env("CROFT_STATE_DIR", farm.state())
            .env("CROFT_NIX_ROOT", farm.dir().join("root"))
            .env("CROFT_NIX_DAEMON", "stdio")
            .env("NIX_CONFIG", farm.nix_config())
            .env("XDG_CACHE_HOME", farm.dir().join("cache"));
        Self { farm, command }
    }

    /// Sets a variable, such as `CROFT_BUILD_SLOTS`.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets it work with the machine's own store, where something is that cannot be made in another.
    #[must_use]
    pub(crate) fn on_machine_store(mut self) -> Self {
        for name in ["CROFT_NIX_ROOT", "CROFT_NIX_DAEMON", "NIX_CONFIG"] {
            self.command.env_remove(name);
        }
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let number = self.farm.calls.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] =
            ["out", "err"].map(|name| self.farm.dir().join(format!("calls/{number}.{name}")));
        self.command.stdin(std::process::Stdio::null());
        self.command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let words = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        Running { child: self.command.spawn().unwrap(), words, stdout, stderr }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Done {
        self.start().wait()
    }
}

impl Running {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has said so far.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Done {
        self.wait_for_end(PATIENCE)
    }

    /// Waits for its end, which comes within `span`.
    pub(crate) fn wait_for_end(mut self, span: Duration) -> Done {
        let Some(status) = self.wait_at_most(span) else {
            panic!("croft {} did not end: {}{}", self.words, self.stdout(), self.stderr());
        };
        Done { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Waits for its end, but not for long.
    pub(crate) fn wait_at_most(&mut self, span: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            let left = span.checked_sub(start.elapsed())?;
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &std::path::Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}
