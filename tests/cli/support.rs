//! A place of its own for each test: a state directory, a store, flakes, and the `croft` program set up for them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// What croft did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Done {
    fn of(output: Output, took: Duration) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("croft writes Unicode");
        // A program that was killed has no code; no test expects that.
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: text(output.stdout), err: text(output.stderr), took }
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Checks that standard error, read without regard to case, has all the words.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        contains(&self.err, words);
        self
    }

    /// Checks that standard output has all the words.
    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        contains(&self.out, words);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|error| panic!("{error}\nstdout:\n{}\nstderr:\n{}", self.out, self.err))
    }

    /// Standard output as one JSON value per line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "{word:?} is not in:\n{text}");
    }
}

/// The cell of a report, by name.
#[track_caller]
pub(crate) fn cell<'a>(report: &'a Value, name: &str) -> &'a Value {
    let cells = report["cells"].as_array().expect("a report has cells");
    cells.iter().find(|cell| cell["name"] == name).unwrap_or_else(|| panic!("no cell {name}: {report:#}"))
}

/// Which store croft works with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    /// An empty one in the temporary directory.
    Own,
    /// That of the machine.
    Machine,
}

/// A temporary directory with all that a test touches.
pub(crate) struct Place {
    dir: TempDir,
    store: Store,
    nix: Option<PathBuf>,
}

impl Place {
    /// A place with an empty store.
    pub(crate) fn new() -> Self {
        Self::with(Store::Own, std::env::var_os("CROFT_NIX").map(PathBuf::from))
    }

    /// A place that shares the machine's store, where something is that cannot be made here.
    pub(crate) fn on_machine_store() -> Self {
        Self::with(Store::Machine, std::env::var_os("CROFT_NIX").map(PathBuf::from))
    }

    /// A place with an empty store for another Nix.
    pub(crate) fn with_nix(nix: &Path) -> Self {
        Self::with(Store::Own, Some(nix.to_owned()))
    }

    fn with(store: Store, nix: Option<PathBuf>) -> Self {
        let dir = tempfile::Builder::new().prefix("croft-cli-").tempdir().unwrap();
        for folder in ["root", "home", "state", "work"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir, store, nix }
    }

    /// A path in this place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where croft runs, unless told otherwise.
    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Writes a file below the working directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a flake whose `checks.x86_64-linux` is `checks`, an attribute set over the helpers of [`PRELUDE`].
    pub(crate) fn flake(&self, checks: &str) {
        self.write("flake.nix", &flake_text(checks));
    }

    /// A copy of examples/hello and the library it uses, in git; croft's working directory for it.
    pub(crate) fn hello(&self) -> PathBuf {
        for folder in ["examples/hello", "nix/lib"] {
            copy(&repository().join(folder), &self.work().join(folder));
        }
        self.git(&["init", "-q", "."]);
        self.git(&["add", "-A"]);
        self.work().join("examples/hello")
    }

    /// Runs git in the working directory.
    pub(crate) fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]).args(args);
        let done = git.current_dir(self.work()).env("HOME", self.path("home")).output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", done.stderr.escape_ascii());
    }

    /// Sets a program up for this place: nothing of the tester's environment but PATH reaches it.
    pub(crate) fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("LANG", "C.UTF-8")
            .env("CROFT_STATE_DIR", self.path("state"))
            .current_dir(self.work())
            .stdin(Stdio::null());
        if let Some(nix) = &self.nix {
            command.env("CROFT_NIX", nix);
        }
        if self.store == Store::Own {
            command.env("CROFT_NIX_ROOT", self.path("root")).env("NIX_CONFIG", nix_config());
        }
    }

    /// `croft` with arguments, not yet started.
    pub(crate) fn croft(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        self.dress(&mut command);
        command.args(args);
        command
    }

    /// Runs `croft` to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.finish(&mut self.croft(args))
    }

    /// Runs a command to its end, and checks that nothing it started is left.
    #[track_caller]
    pub(crate) fn finish(&self, command: &mut Command) -> Done {
        let before = Instant::now();
        let output = command.output().unwrap();
        let done = Done::of(output, before.elapsed());
        self.assert_nobody_is_left();
        done
    }

    /// Checks that no process works for this place: each one has its path in the environment.
    #[track_caller]
    pub(crate) fn assert_nobody_is_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still running: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn processes(&self) -> Vec<String> {
        let mark = self.path("home").into_os_string().into_encoded_bytes();
        let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let ours = |process: &PathBuf| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|part| part == mark)
        };
        let name = |process: PathBuf| fs::read(process.join("cmdline")).ok();
        entries.filter(ours).filter_map(name).map(|line| line.escape_ascii().to_string()).collect()
    }

    /// How many store paths end in `name`.
    pub(crate) fn built(&self, name: &str) -> usize {
        let Ok(entries) = fs::read_dir(self.path("root/nix/store")) else { return 0 };
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(name)).count()
    }
}

/// What the stores of tests are told. They build as the tester: two stores never share build users.
pub(crate) fn nix_config() -> String {
    let shell = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let shell = shell.map(|path| format!("sandbox-paths = /bin/sh={path}\n")).unwrap_or_default();
    format!(
        "build-users-group =\nsandbox = true\nsandbox-fallback = false\n{shell}substituters =\n\
         fsync-metadata = false\nexperimental-features = nix-command flakes\n"
    )
}

/// The helpers that a generated flake has: `cell NAME AXES SCRIPT`, and `with` more attributes.
const PRELUDE: &str = r#"
  system = "x86_64-linux";
  cellWith = more: name: axes: script:
    derivation ({ inherit name system; builder = "/bin/sh"; args = [ "-c" script ]; } // more)
    // { passthru.croft = { v = 1; inherit axes; }; };
  cell = cellWith { };
  expecting = expect: drv: drv // { passthru.croft = drv.passthru.croft // { inherit expect; }; };
  ok = "echo fine > $out";
"#;

/// The text of a flake whose checks are `checks`.
pub(crate) fn flake_text(checks: &str) -> String {
    format!(
        "{{\n  outputs = {{ self }}: let{PRELUDE}  in {{\n    checks.${{system}} = {checks};\n  }};\n}}\n"
    )
}

/// The root of croft's own tree.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Copies a folder with all below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&source, &target),
            kind if kind.is_file() => drop(fs::copy(&source, &target).unwrap()),
            _ => {}
        }
    }
}

/// Says why a test does nothing here.
pub(crate) fn skip(why: &str) {
    let mut stderr = std::io::stderr();
    std::io::Write::write_all(&mut stderr, format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// The keys of an object, sorted.
#[track_caller]
pub(crate) fn keys_of(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Compares with the recorded text; `CROFT_UPDATE_GOLDEN=1` records it.
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let file = repository().join("tests/golden").join(name);
    if std::env::var_os("CROFT_UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let recorded = fs::read_to_string(&file).unwrap();
    assert_eq!(text, recorded, "{} differs; CROFT_UPDATE_GOLDEN=1 records the new text", file.display());
}
