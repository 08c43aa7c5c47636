//! Small flakes on disk, the Nix versions of this machine, and evaluations as values.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use croft::{
    eval::{
        BrokenCell, CellError, EvalError, EvalEvent, EvalSettings, EvalSummary, Evaluator, FlakeRef,
        LockedFlake, NixOption, SystemSelection,
    },
    matrix::Cell,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) struct Project {
    pub(crate) folder: TempDir,
}

/// Nix code that makes a derivation without building anything.
pub(crate) const MAKE: &str = r#"make = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; };"#;

impl Project {
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::Builder::new().prefix("croft-eval-test").tempdir().unwrap() }
    }

    pub(crate) fn with_flake(text: &str) -> Self {
        let project = Self::empty();
        project.write("flake.nix", text);
        project
    }

    /// A flake whose `checks.x86_64-linux` has these attributes; `make NAME` is a derivation.
    pub(crate) fn with_checks(attributes: &str) -> Self {
        Self::with_flake(&format!(
            "{{\n  outputs = {{ self }}: let {MAKE} in {{\n    checks.x86_64-linux = {{\n{attributes}\n    }};\n  }};\n}}\n"
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    pub(crate) fn git(&self, args: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"])
            .arg(self.path())
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn commit(&self) {
        if !self.path().join(".git").exists() {
            self.git(&["init", "-q"]);
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", "change"]);
    }

    pub(crate) fn flake(&self) -> FlakeRef {
        FlakeRef::parse(".", self.path()).unwrap()
    }
}

/// A Nix of this machine with a store of its own.
pub(crate) struct Setup {
    pub(crate) version: String,
    pub(crate) settings: EvalSettings,
    /// A word in the environment of every child, by which a survivor is found.
    pub(crate) marker: String,
    pub(crate) root: TempDir,
}

impl Setup {
    fn new(version: &str, nix: PathBuf, own_store: bool) -> Self {
        let root = tempfile::Builder::new().prefix("croft-eval-store").tempdir().unwrap();
        let marker = format!("marker-{}", root.path().file_name().unwrap().to_str().unwrap());
        let settings = EvalSettings {
            nix,
            store: own_store.then(|| format!("local?root={}", root.path().display())),
            memory_limit: 3 << 30,
            wall_clock: Duration::from_mins(1),
            options: vec![NixOption { name: "user-agent-suffix".into(), value: marker.clone() }],
            ..EvalSettings::default()
        };
        Self { version: version.to_owned(), settings, marker, root }
    }

    /// The `nix` in PATH.
    pub(crate) fn installed() -> Self {
        Self::new("installed", PathBuf::from("nix"), false)
    }

    /// A program that stands in for `nix`.
    pub(crate) fn stub(script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let mut setup = Self::new("stub", PathBuf::new(), false);
        let file = setup.root.path().join("nix-stub");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        setup.settings.nix = file;
        setup
    }

    pub(crate) async fn lock(&self, project: &Project) -> Result<LockedFlake, EvalError> {
        Evaluator::new(self.settings.clone()).lock(&project.flake(), &[]).await
    }

    pub(crate) async fn evaluate(&self, project: &Project) -> Outcome {
        match self.lock(project).await {
            Ok(locked) => self.evaluate_locked(&locked, SystemSelection::All).await,
            Err(error) => Outcome { result: Err(error), ..Outcome::default() },
        }
    }

    pub(crate) async fn evaluate_locked(&self, locked: &LockedFlake, systems: SystemSelection) -> Outcome {
        let evaluator = Evaluator::new(self.settings.clone());
        let (tx, mut rx) = mpsc::channel(16);
        let collect = async {
            let mut events = Vec::new();
            while let Some(event) = rx.recv().await {
                events.push(event);
            }
            events
        };
        let evaluate = evaluator.evaluate(locked, &systems, tx, CancellationToken::new());
        let (result, events) = tokio::join!(evaluate, collect);
        self.assert_no_survivor();
        Outcome { result, events }
    }

    pub(crate) fn survivors(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.windows(self.marker.len()).any(|w| w == self.marker.as_bytes()) {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&line).replace('\0', " ").chars().take(100).collect());
            }
        }
        found
    }

    pub(crate) fn assert_no_survivor(&self) {
        let survivors = self.survivors();
        assert!(survivors.is_empty(), "{}: still running: {survivors:?}", self.version);
    }
}

/// The installed Nix, and each version below the folder that `CROFT_NIX_VERSIONS` names.
pub(crate) fn every_nix() -> Vec<Setup> {
    let mut setups = vec![Setup::installed()];
    let Some(folder) = std::env::var_os("CROFT_NIX_VERSIONS") else {
        eprintln!("skipping other Nix versions: CROFT_NIX_VERSIONS is not set");
        return setups;
    };
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let nix = entry.path().join("bin/nix");
        if nix.exists() {
            setups.push(Setup::new(entry.file_name().to_str().unwrap(), nix, true));
        }
    }
    setups
}

pub(crate) struct Outcome {
    pub(crate) result: Result<EvalSummary, EvalError>,
    pub(crate) events: Vec<EvalEvent>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { result: Err(EvalError::Cancelled), events: Vec::new() }
    }
}

impl Outcome {
    pub(crate) fn summary(&self) -> EvalSummary {
        *self.result.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn cells(&self) -> Vec<&Cell> {
        self.events
            .iter()
            .filter_map(|e| if let EvalEvent::Cell(cell) = e { Some(cell) } else { None })
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.cells().iter().map(|cell| cell.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn broken(&self) -> BTreeMap<&str, &BrokenCell> {
        let broken =
            self.events.iter().filter_map(|e| if let EvalEvent::Broken(b) = e { Some(b) } else { None });
        broken.map(|b| (b.name.as_str(), b)).collect()
    }

    pub(crate) fn error_of(&self, cell: &str) -> &CellError {
        &self.broken().get(cell).unwrap_or_else(|| panic!("{cell} is not broken; {:?}", self.result)).error
    }
}
