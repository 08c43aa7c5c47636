//! Orders, keys and ssh for tests.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use croft::{
    clock::{Clock, SystemClock},
    fleet::{Address, Identity, InstanceId, LaunchOrder, Market, Reach, Secret, Shape},
    ids::{FarmId, MachineId},
};

/// A guard against hanging, not a measure.
pub(crate) const HANG: Duration = Duration::from_secs(240);

/// A farm with keys in a folder of its own.
pub(crate) struct Farm {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) id: FarmId,
}

impl Farm {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "farm"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(dir.path().join(name));
            assert!(command.status().unwrap().success());
        }
        Self { dir, id: FarmId::new(SystemClock.now()) }
    }

    /// An order for one machine with the keys of this farm.
    pub(crate) fn order(&self, machine: MachineId, lease: Duration) -> LaunchOrder {
        order(self.dir.path(), self.id, machine, lease)
    }

    /// Runs a command over ssh; the host has to be the one with the key that was ordered.
    pub(crate) fn ssh(&self, address: &Address, command: &str) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.args(self.ssh_options(address)).arg(format!("root@{}", address.host)).arg(command);
        ssh.stdin(Stdio::null()).output().unwrap()
    }

    /// The options of ssh for a machine of this farm.
    pub(crate) fn ssh_options(&self, address: &Address) -> Vec<String> {
        let known = self.dir.path().join("known_hosts");
        let host = std::fs::read_to_string(self.dir.path().join("host.pub")).unwrap();
        std::fs::write(&known, format!("machine {host}")).unwrap();
        let mut options = vec!["-F".to_owned(), "/dev/null".to_owned(), "-q".to_owned()];
        for option in [
            "BatchMode=yes".to_owned(),
            format!("UserKnownHostsFile={}", known.display()),
            "HostKeyAlias=machine".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            format!("IdentityFile={}", self.dir.path().join("farm").display()),
            "ConnectTimeout=10".to_owned(),
            "ServerAliveInterval=5".to_owned(),
            format!("Port={}", address.port),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    /// Waits until the machine answers over ssh.
    pub(crate) fn wait_for_ssh(&self, address: &Address) {
        until("the machine answers over ssh", || self.ssh(address, "true").status.success());
    }

    /// Builds something trivial in the machine's sandbox, through its own daemon; what the builder printed.
    pub(crate) fn build(&self, address: &Address, text: &str) -> String {
        let file = self.dir.path().join("build.nix");
        let script = format!("/bin/sh -c 'id -un'; echo {text} > $out");
        let derivation = format!(
            "derivation {{ name = \"{text}\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"{script}\" ]; }}"
        );
        std::fs::write(&file, derivation).unwrap();
        let eval = self.dir.path().join("eval");
        let mut nix = Command::new("nix");
        nix.args(["--extra-experimental-features", "nix-command", "build", "-L", "--no-link", "-f"])
            .arg(&file);
        nix.arg("--store").arg(format!("ssh-ng://root@{}", address.host));
        nix.arg("--eval-store").arg(&eval);
        nix.env("NIX_SSHOPTS", self.ssh_options(address).join(" "));
        let done = nix.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "the build failed: {said}");
        said
    }
}

/// An order with the keys in `dir`.
pub(crate) fn order(dir: &Path, farm: FarmId, machine: MachineId, lease: Duration) -> LaunchOrder {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned();
    LaunchOrder {
        farm,
        machine,
        name: "test-1".to_owned(),
        pool: "test".parse().unwrap(),
        shape: Shape { instance_type: None, zone: None, market: Market::OnDemand },
        identity: Identity {
            host_key: Secret::new(read("host")),
            host_key_public: read("host.pub"),
            authorized_key: read("farm.pub"),
        },
        lease,
        expires: SystemClock.now().plus(Duration::from_secs(3600)),
    }
}

pub(crate) fn machine() -> MachineId {
    MachineId::new(SystemClock.now())
}

pub(crate) fn instance_id(machine: MachineId) -> InstanceId {
    InstanceId::new(&machine.to_string()).unwrap()
}

/// Where a machine is reached over ssh.
pub(crate) fn address(reach: Option<&Reach>) -> Address {
    match reach {
        Some(Reach::Ssh(address)) => address.clone(),
        other => panic!("no address for ssh: {other:?}"),
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < HANG, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The processes whose working directory is `dir`.
pub(crate) fn processes_in(dir: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir)).collect()
}

/// Those of them that are virtual machines.
pub(crate) fn guests_in(dir: &Path) -> Vec<i32> {
    let is_guest = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu-system"))
    };
    processes_in(dir).into_iter().filter(is_guest).collect()
}

/// Whether a program is here.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    dirs.iter().any(|dir| dir.join(program).is_file())
}

/// The processes whose command line names `path`.
pub(crate) fn processes_mentioning(path: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mentions = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(path.to_str().unwrap())
    };
    numbers.filter(mentions).collect()
}
