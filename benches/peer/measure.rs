//! Running programs against the clock, and medians.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How a program is run: the output is read when it fails, and only then.
#[derive(Debug)]
pub(crate) struct Program(Command);

impl Program {
    /// Croft as it was built with this benchmark, with its state in `state`.
    pub(crate) fn croft(state: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        command.env("CROFT_STATE_DIR", state);
        Self(command)
    }

    /// The peer.
    pub(crate) fn nix() -> Self {
        let mut command = Command::new("nix");
        command.args(["--extra-experimental-features", "nix-command flakes"]);
        Self(command)
    }

    /// A program that is set up already.
    pub(crate) fn of(command: Command) -> Self {
        Self(command)
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.0.args(args);
        self
    }

    /// Runs it to its end and gives the time it took; anything but success is an error with its last words.
    pub(crate) fn timed(mut self) -> Result<Duration, String> {
        // A folder without a configuration file or flake of anybody's.
        self.0.current_dir("/").stdin(Stdio::null());
        let begun = Instant::now();
        let output = self
            .0
            .output()
            .map_err(|error| format!("starting {}: {error}", self.0.get_program().display()))?;
        let took = begun.elapsed();
        if output.status.success() {
            return Ok(took);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = words.lines().rev().take(5).collect();
        Err(format!("{} ended with {}: {}", self.0.get_program().display(), output.status, last.join(" | ")))
    }
}

/// Measurements of one kind.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds one, in seconds.
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64());
    }

    /// The middle one, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        }
    }

    /// The least and the most.
    pub(crate) fn range(&self) -> (f64, f64) {
        self.0.iter().fold((f64::INFINITY, 0.0), |(least, most), &x| (least.min(x), most.max(x)))
    }
}
