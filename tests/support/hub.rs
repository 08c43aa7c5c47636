//! The store of this machine for tests: a Nix store in a temporary folder, with a daemon of its own.

#![allow(dead_code, clippy::allow_attributes, reason = "each program uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use croft::{
    config::{DaemonAccess, NixSettings},
    nix::{Derivation, DrvKey, DrvPath, KeyTable, OutputName, StoreDir, StorePath},
    remote::{Pool, StoreAccess, Task, TaskMode},
};
use tempfile::TempDir;

/// A store and the way to it.
pub(crate) struct Hub {
    pub(crate) dir: TempDir,
    pub(crate) pool: Pool,
    shell: &'static str,
}

impl Hub {
    pub(crate) fn new(shell: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("croft-hub-").tempdir().unwrap();
        for folder in ["root", "bin", "home"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        // The daemon is found beside this `nix`, and has its configuration from here.
        let daemon = dir.path().join("bin/nix-daemon");
        let script = format!("#!/bin/sh\nexport NIX_CONFIG='{}'\nexec nix-daemon \"$@\"\n", config(shell));
        fs::write(&daemon, script).unwrap();
        fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
        let pool = Pool::new(access(dir.path()));
        Self { dir, pool, shell }
    }

    /// The way to the store.
    pub(crate) fn access(&self) -> StoreAccess {
        access(self.dir.path())
    }

    /// A Nix program on this store.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("NIX_CONFIG", config(self.shell))
            .env("NIX_REMOTE", format!("local?root={}", self.root().display()))
            .env("HOME", self.dir.path().join("home"))
            .env_remove("NIX_PATH");
        command
    }

    /// The configuration of its Nix.
    pub(crate) fn config(&self) -> String {
        config(self.shell)
    }

    /// The folder that its store is in.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Where the file at `path` physically is.
    pub(crate) fn file(&self, path: &StorePath) -> PathBuf {
        self.root().join(StoreDir::default().render_path(path).trim_start_matches('/'))
    }

    /// Whether the path is valid here.
    pub(crate) async fn has(&self, path: &StorePath) -> bool {
        let mut connection = self.pool.take().await.unwrap();
        let valid = connection.client.is_valid_path(path).await.unwrap();
        self.pool.give_back(connection);
        valid
    }

    /// Instantiates the derivations of a list, which can use `drv NAME ATTRS SCRIPT`; a task for each.
    pub(crate) fn tasks(&self, list: &str) -> Vec<Task> {
        let expression = format!("{PRELUDE}{list}");
        let output = self.command("nix-instantiate").args(["-E", &expression]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let paths = text.lines().map(|line| line.split('!').next().unwrap().parse().unwrap());
        let mut keys = KeyTable::new();
        paths.map(|drv: DrvPath| self.task(&drv, &mut keys)).collect()
    }

    /// The task of one script.
    pub(crate) fn script(&self, name: &str, script: &str) -> Task {
        self.tasks(&format!("[ (drv \"{name}\" {{}} ''{script}'') ]")).remove(0)
    }

    /// Adds a file of random bytes, which refers to nothing; its absolute path.
    pub(crate) fn add_random(&self, name: &str, size: u64) -> String {
        let file = self.dir.path().join(name);
        let mut source = std::io::Read::take(fs::File::open("/dev/urandom").unwrap(), size);
        std::io::copy(&mut source, &mut fs::File::create(&file).unwrap()).unwrap();
        let added = self.command("nix-store").arg("--add").arg(&file).output().unwrap();
        assert!(added.status.success(), "{added:?}");
        fs::remove_file(file).unwrap();
        String::from_utf8(added.stdout).unwrap().trim().to_owned()
    }

    /// Signs a path and copies it to a binary cache in `folder`; the public key of the signature.
    pub(crate) fn copy_to_cache(&self, path: &str, folder: &Path) -> String {
        let key = self.dir.path().join("cache-key");
        let public = self.dir.path().join("cache-key.pub");
        let run = |mut command: Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{command:?}: {output:?}");
        };
        let mut generate = self.command("nix-store");
        generate.arg("--generate-binary-cache-key").arg("test-1").arg(&key).arg(&public);
        run(generate);
        let mut copy = self.command("nix");
        let url = format!("file://{}?secret-key={}", folder.display(), key.display());
        copy.args(["copy", "--no-check-sigs", "--to", &url, path]);
        run(copy);
        fs::read_to_string(public).unwrap().trim().to_owned()
    }

    fn parse(&self, drv: &DrvPath) -> Derivation {
        let bytes = fs::read(self.file(drv.as_store_path())).unwrap();
        Derivation::parse(&StoreDir::default(), drv, &bytes).unwrap()
    }

    fn key(&self, drv: &DrvPath, keys: &mut KeyTable) -> DrvKey {
        if let Some(key) = keys.get(drv) {
            return key;
        }
        let derivation = self.parse(drv);
        for (input, _) in derivation.input_drvs() {
            self.key(&input, keys);
        }
        keys.key(&derivation).unwrap()
    }

    fn task(&self, drv: &DrvPath, keys: &mut KeyTable) -> Task {
        let derivation = self.parse(drv);
        let mut inputs: BTreeSet<StorePath> = derivation.input_srcs().clone();
        for (input, outputs) in derivation.input_drvs() {
            let input = self.parse(&input);
            let path = |name: &String| input.output_path(&OutputName::new(name).unwrap());
            inputs.extend(outputs.iter().filter_map(path));
        }
        let key = self.key(drv, keys);
        Task { drv: drv.clone(), derivation: Arc::new(derivation), key, inputs, mode: TaskMode::Build }
    }
}

const PRELUDE: &str = r#"let drv = name: attrs: script: derivation ({ inherit name; system = builtins.currentSystem;
  builder = "/bin/sh"; args = [ "-c" script ]; PATH = "/bin"; } // attrs); in "#;

fn config(shell: &str) -> String {
    format!(
        "experimental-features = nix-command flakes ca-derivations\nbuild-users-group =\nsubstituters =\n\
         sandbox = true\nsandbox-fallback = false\nsandbox-paths = /bin/sh={shell}\n"
    )
}

fn access(dir: &Path) -> StoreAccess {
    StoreAccess::new(NixSettings {
        program: dir.join("bin/nix"),
        daemon: DaemonAccess::Stdio,
        socket: None,
        root: Some(dir.join("root")),
    })
}
