//! A farm of its own for one test: state, store, flake and a folder that builds can see, all in one temporary folder.
//!
//! Every process that works for the farm names that folder in its arguments or environment, so that a test can find
//! the processes it has started, and no others.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part of this")]

mod process;
mod program;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::AtomicU32,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use process::Process;
#[allow(unused_imports, reason = "each test program uses its part of this")]
pub(crate) use program::{Croft, Done, Running};

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The shells that can stand in a sandbox alone.
const SHELLS: [&str; 3] = ["/usr/bin/busybox", "/bin/busybox", "/bin/busybox-static"];

/// What stands before the cells in a test's flake.
///
/// `cell NAME SCRIPT` is a derivation; `cellWith NAME ATTRS SCRIPT` has further attributes, of which `croft` becomes
/// `passthru.croft`. Scripts see the farm's folder as `$outside`, write a line to `$outside/ran` when they begin, and
/// have `test_case STATUS NAME`, `report` (into the log), `succeed` (makes the output) and `wait_for FILE`.
const PRELUDE: &str = r#"
  cellWith = name: { croft ? null, ... }@attrs: script:
    let drv = derivation (removeAttrs attrs [ "croft" ] // {
      inherit name outside;
      system = builtins.currentSystem or "@system@";
      builder = "/bin/sh";
      args = [ "-c" (prelude + script) ];
    });
    in if croft == null then drv else drv // { passthru.croft = { v = 1; } // croft; };
  cell = name: cellWith name { };
  outside = "@outside@";
  prelude = ''
    PATH=/bin:/usr/bin
    echo "$name" >> "$outside/ran"
    cases=
    test_case() {
      bad=
      if [ "$1" = failed ]; then bad="<failure message='no'/>"; fi
      cases="$cases<testcase classname='suite' name='$2'>$bad</testcase>"
      printf '@croft {"v":1,"event":"test","suite":"suite","name":"%s","status":"%s","ms":1}\n' "$2" "$1"
    }
    junit() { printf '%s' "<testsuite name='suite'>$cases</testsuite>"; }
    report() {
      printf '@croft {"v":1,"event":"report","format":"junit","encoding":"identity","part":1,"of":1,"data":"%s"}\n' "$(junit)"
    }
    succeed() { mkdir -p "$out/croft"; junit > "$out/croft/report.xml"; }
    wait_for() { while [ ! -e "$outside/$1" ]; do sleep 0.05; done; }
  '';
"#;

/// A farm in a temporary folder. When it goes, so do its processes.
pub(crate) struct Farm {
    dir: TempDir,
    shell: PathBuf,
    calls: AtomicU32,
}

impl Farm {
    /// A new farm, or none with a word why, where there is no Nix or no shell for its sandbox.
    pub(crate) fn new() -> Option<Self> {
        let skipped = |why: &str| {
            eprintln!("skipped: {why}");
            None
        };
        if std::process::Command::new("nix").arg("--version").output().is_err() {
            return skipped("there is no nix program here");
        }
        let Some(shell) = SHELLS.iter().map(PathBuf::from).find(|path| path.exists()) else {
            return skipped("there is no busybox here, which builds need as a shell");
        };
        let farm = Self { dir: tempfile::tempdir().unwrap(), shell, calls: AtomicU32::new(0) };
        for folder in ["state", "root", "outside", "flake", "calls"] {
            fs::create_dir(farm.dir().join(folder)).unwrap();
        }
        // A store that has been used before has these. Nix 2.8 does not make them twice at once.
        let nix = farm.dir().join("root/nix/var/nix");
        fs::create_dir_all(nix.join("profiles")).unwrap();
        fs::create_dir(nix.join("gcroots")).unwrap();
        std::os::unix::fs::symlink(nix.join("profiles"), nix.join("gcroots/profiles")).unwrap();
        Some(farm)
    }

    /// The folder of it all.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where croft keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// The folder that builds see as `$outside`.
    pub(crate) fn outside(&self) -> PathBuf {
        self.dir().join("outside")
    }

    /// The flake, as a reference.
    pub(crate) fn flake(&self) -> String {
        format!("path:{}", self.dir().join("flake").display())
    }

    /// Writes the flake; `checks` is the inside of an attribute set of cells.
    pub(crate) fn write_flake(&self, checks: &str) {
        let system = format!("{}-linux", std::env::consts::ARCH);
        let prelude =
            PRELUDE.replace("@system@", &system).replace("@outside@", &self.outside().display().to_string());
        let text = format!(
            "{{ outputs = {{ self }}: let {prelude} in {{ checks.{system} = {{\n{checks}\n}}; }}; }}\n"
        );
        fs::write(self.dir().join("flake/flake.nix"), text).unwrap();
    }

    /// A call of croft on this farm.
    pub(crate) fn croft(&self, args: &[&str]) -> Croft<'_> {
        self.croft_by(std::process::Command::new(Croft::PROGRAM), args)
    }

    /// A call by way of a command that runs croft, such as in another network.
    pub(crate) fn croft_by(&self, command: std::process::Command, args: &[&str]) -> Croft<'_> {
        Croft::by(self, command, args)
    }

    /// `croft check --json` on the farm's flake, to its end.
    pub(crate) fn check(&self, args: &[&str]) -> Checked {
        let flake = self.flake();
        let args = [&["check", "--json", &flake], args].concat();
        Checked::of(self.croft(&args).run())
    }

    /// The configuration of the farm's Nix.
    pub(crate) fn nix_config(&self) -> String {
        format!(
            "experimental-features = nix-command flakes\nbuild-users-group =\nsubstituters =\nsandbox = true\n\
             sandbox-fallback = false\nsandbox-paths = /bin/sh={} {}\n",
            self.shell.display(),
            self.outside().display()
        )
    }

    /// Lets builds that wait for `name` go on.
    pub(crate) fn open_gate(&self, name: &str) {
        fs::write(self.outside().join(name), "").unwrap();
    }

    /// How often a builder of the derivation `name` has begun.
    pub(crate) fn ran(&self, name: &str) -> usize {
        match fs::read_to_string(self.outside().join("ran")) {
            Ok(text) => text.lines().filter(|line| *line == name).count(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => panic!("reading what ran: {error}"),
        }
    }

    /// Waits until a file that a build makes is there.
    pub(crate) fn wait_for(&self, name: &str) {
        let path = self.outside().join(name);
        wait_until(&format!("{name} of a build"), || path.exists());
    }

    /// Waits until builders of `name` have begun `times` times.
    pub(crate) fn wait_for_runs(&self, name: &str, times: usize) {
        wait_until(&format!("run {times} of {name}"), || self.ran(name) >= times);
    }

    /// All processes that work for this farm.
    pub(crate) fn processes(&self) -> Vec<Process> {
        process::mentioning(self.dir())
    }

    /// The processes of the builder of the derivation `name`.
    pub(crate) fn builders(&self, name: &str) -> Vec<Process> {
        let marks = [format!("outside={}", self.outside().display()), format!("name={name}")];
        let is_builder = |process: &Process| marks.iter().all(|mark| process.has_variable(mark));
        self.processes().into_iter().filter(is_builder).collect()
    }

    /// Waits until nothing works for this farm any more.
    pub(crate) fn wait_until_still(&self) {
        let still = || self.processes().is_empty();
        let start = Instant::now();
        while !still() {
            assert!(start.elapsed() < PATIENCE / 2, "these are left: {:#?}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asserts that `croft fsck` finds nothing.
    pub(crate) fn assert_sound(&self) {
        let done = self.croft(&["fsck"]).run();
        assert_eq!(done.code, Some(0), "croft fsck: {}{}", done.stdout, done.stderr);
    }

    /// What `croft show --json` says of `what`.
    pub(crate) fn show(&self, what: &str) -> Value {
        let done = self.croft(&["show", "--json", what]).run();
        done.json()
    }

    /// The outcomes of all attempts on the key of a cell, oldest first.
    pub(crate) fn outcomes(&self, cell: &str) -> Vec<String> {
        let key = self.show(cell)["cells"][0]["key"].as_str().unwrap_or_default().to_owned();
        let shown = self.show(&key);
        let word = |attempt: &Value| match &attempt["outcome"] {
            Value::Null => "running".to_owned(),
            outcome => outcome["outcome"].as_str().unwrap_or("?").to_owned(),
        };
        shown["attempts"].as_array().into_iter().flatten().rev().map(word).collect()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        // A builder that is killed may have a parent that starts another, so look again until there is none.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(Process::kill);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A check that has ended.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// The document on standard output; null if there is none.
    pub(crate) report: Value,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Checked {
    /// Reads the document of a check.
    pub(crate) fn of(done: Done) -> Self {
        let report = serde_json::from_str(&done.stdout).unwrap_or(Value::Null);
        Self { code: done.code, report, stderr: done.stderr }
    }

    /// What the check says of a cell.
    pub(crate) fn cell(&self, name: &str) -> &Value {
        let found = self.cells().find(|cell| cell["name"] == name);
        found.unwrap_or_else(|| panic!("no cell {name} in {self:#?}"))
    }

    /// All cells.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Value> {
        self.report["cells"].as_array().into_iter().flatten()
    }

    /// The state of a cell.
    pub(crate) fn state(&self, name: &str) -> &str {
        self.cell(name)["state"].as_str().unwrap_or_default()
    }

    /// The reason of a cell's state.
    pub(crate) fn reason(&self, name: &str) -> &str {
        self.cell(name)["reason"].as_str().unwrap_or_default()
    }
}

/// Waits until `what` has come about.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
