//! Real daemons for tests: every Nix that can be found, each with a store of its own in a temporary directory.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

pub(crate) mod script;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use croft::nix::daemon::{Client, ClientError};
use croft::nix::{Derivation, DrvPath, StoreDir};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStdin, ChildStdout};

pub(crate) type StdioClient = Client<ChildStdout, ChildStdin>;
pub(crate) type SocketClient = Client<OwnedReadHalf, OwnedWriteHalf>;

/// Whether clients are administrators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trusted {
    Yes,
    No,
}

/// One version of Nix with an empty store.
pub(crate) struct LiveNix {
    pub(crate) name: String,
    bin: Option<PathBuf>,
    dir: TempDir,
}

impl LiveNix {
    /// Every Nix that is there: that of PATH and those below `CROFT_NIX_VERSIONS`.
    pub(crate) fn all() -> Vec<Self> {
        let mut found = Vec::new();
        if Command::new("nix-daemon").arg("--version").output().is_ok_and(|out| out.status.success()) {
            found.push(Self::new("system", None));
        } else {
            eprintln!("skipped for the system's Nix: there is no nix-daemon in PATH");
        }
        match std::env::var_os("CROFT_NIX_VERSIONS") {
            Some(folder) => {
                let mut versions: Vec<_> =
                    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
                versions.sort();
                for version in versions.into_iter().filter(|path| path.join("bin/nix-daemon").exists()) {
                    let name = version.file_name().unwrap().to_str().unwrap().to_owned();
                    found.push(Self::new(&name, Some(version.join("bin"))));
                }
            }
            None => eprintln!("skipped for other versions of Nix: CROFT_NIX_VERSIONS is not set"),
        }
        found
    }

    fn new(name: &str, bin: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["root", "conf", "home"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { name: name.to_owned(), bin, dir }
    }

    /// Another empty store of the same version.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(&self.name, self.bin.clone())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn store_file(&self, absolute: &str) -> PathBuf {
        self.root().join(absolute.trim_start_matches('/'))
    }

    pub(crate) fn command(&self, program: &str, trusted: Trusted) -> Command {
        let program = self.bin.as_deref().map_or(PathBuf::from(program), |bin| bin.join(program));
        let users = if trusted == Trusted::Yes { "root" } else { "nobody" };
        let config = format!(
            "build-users-group =\nsandbox = true\nsandbox-fallback = false\nsandbox-paths = /bin/sh=/usr/bin/busybox\n\
             substituters =\nexperimental-features = nix-command ca-derivations\ncores = 1\nfsync-metadata = false\n\
             trusted-users = {users}\n"
        );
        let mut command = Command::new(program);
        command
            .env("NIX_CONF_DIR", self.dir.path().join("conf"))
            .env("NIX_CONFIG", config)
            .env("NIX_REMOTE", format!("local?root={}", self.root().display()))
            .env("HOME", self.dir.path().join("home"))
            .env("NIX_DAEMON_SOCKET_PATH", self.socket())
            .env_remove("NIX_PATH");
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// A daemon on pipes. It ends when the client is dropped, or at the latest with the child handle.
    pub(crate) async fn connect(&self) -> (StdioClient, Child) {
        let mut child = self.spawn(&["--stdio"], Trusted::Yes);
        let (stdout, stdin) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        (Client::connect(stdout, stdin, StoreDir::default()).await.unwrap(), child)
    }

    pub(crate) fn spawn(&self, args: &[&str], trusted: Trusted) -> Child {
        let mut command = self.command("nix-daemon", trusted);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap()
    }

    /// A daemon behind a socket.
    pub(crate) async fn serve(&self, trusted: Trusted) -> Child {
        let child = self.spawn(&[], trusted);
        while UnixStream::connect(self.socket()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        child
    }

    pub(crate) async fn connect_to_socket(&self) -> Result<SocketClient, ClientError> {
        let (reader, writer) = UnixStream::connect(self.socket()).await.unwrap().into_split();
        Client::connect(reader, writer, StoreDir::default()).await
    }

    /// Instantiates an expression; its derivations in the order of its list.
    pub(crate) fn instantiate(&self, expression: &str) -> Vec<DrvPath> {
        let mut command = self.command("nix-instantiate", Trusted::Yes);
        let out = command.args(["-E", expression]).output().unwrap();
        assert!(out.status.success(), "{}: {}", self.name, out.stderr.escape_ascii());
        let lines = String::from_utf8(out.stdout).unwrap();
        lines.lines().map(|line| line.trim_end_matches("!out").parse().unwrap()).collect()
    }

    pub(crate) fn read_drv(&self, path: &DrvPath) -> Vec<u8> {
        std::fs::read(self.store_file(&path.absolute(&StoreDir::default()))).unwrap()
    }

    pub(crate) fn parse(&self, path: &DrvPath) -> Derivation {
        Derivation::parse(&StoreDir::default(), path, &self.read_drv(path)).unwrap()
    }
}

/// An expression for a list of derivations that run shell scripts.
pub(crate) fn scripts(scripts: &[(&str, &str)]) -> String {
    let derivation = |(name, script): &(&str, &str)| format!("(drv \"{name}\" {{}} ''{script}'')");
    let derivations = scripts.iter().map(derivation).collect::<Vec<_>>().join(" ");
    format!("{} [ {derivations} ]", prelude())
}

/// `drv NAME ATTRIBUTES SCRIPT` for expressions. Unique per call so that nothing is built twice by chance.
pub(crate) fn prelude() -> String {
    "let drv = name: attrs: script: derivation ({ inherit name; system = builtins.currentSystem; \
     builder = \"/bin/sh\"; args = [ \"-c\" script ]; } // attrs); in"
        .to_owned()
}

/// The folder with Nix's own test data, if it is there.
pub(crate) fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("CROFT_VECTORS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: CROFT_VECTORS does not name a folder with Nix's own test data");
    }
    folder
}

/// All files below a folder with the given ending.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().is_some_and(|path| path.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}
