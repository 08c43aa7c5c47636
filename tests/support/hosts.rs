//! Other machines for tests: each a set of namespaces with its own network, processes, mounts, store and sshd.
//!
//! They end with the process that made them, however that ends, and two processes that make some do not collide.

#![allow(dead_code, clippy::allow_attributes, reason = "each program uses its part of this")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and speak")]

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use croft::remote::{Identity, KeyPair, SshTarget, SshWay, wait_for_ssh};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What a machine needs of this one.
const NEEDS: [&str; 6] = ["ip", "unshare", "setpriv", "nsenter", "/usr/sbin/sshd", "nix-daemon"];
/// The most machines of all processes.
const MOST: usize = 4096;
/// Users that builds on one machine run as.
const BUILD_USERS: usize = 16;
/// The user of a machine who is not trusted by its daemon.
pub(crate) const USER: &str = "stranger";

/// What is special about a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Lines for its nix.conf, after the usual ones.
    pub(crate) nix_conf: String,
    /// Lines for its sshd_config.
    pub(crate) sshd_conf: String,
    /// Whether a daemon serves users that do not own the store.
    pub(crate) daemon: bool,
    /// The size of its store's disk, if that is to be small: `64m`.
    pub(crate) store_size: Option<&'static str>,
}

/// One machine. Goes when it is dropped.
pub(crate) struct Host {
    pub(crate) dir: TempDir,
    pub(crate) address: String,
    pub(crate) host_key: KeyPair,
    pub(crate) client_key: Arc<KeyPair>,
    link: String,
    outer: u32,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    _number: File,
}

/// Starts a machine for each plan; none, with a word why, where that cannot be done.
pub(crate) async fn start(plans: &[Plan]) -> Option<Vec<Host>> {
    let skipped = |why: &str| {
        eprintln!("skipped: {why}");
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skipped("other machines need root for their namespaces");
    }
    if let Some(missing) = NEEDS.iter().find(|program| !is_there(program)) {
        return skipped(&format!("there is no {missing} here, which other machines need"));
    }
    let client_key = Arc::new(KeyPair::generate("croft-test").unwrap());
    let hosts: Vec<Host> = plans.iter().map(|plan| Host::start(plan, &client_key)).collect();
    for host in &hosts {
        let up = wait_for_ssh(&host.address, 22, Duration::from_secs(30)).await;
        assert!(up.is_ok(), "{} did not start: {}", host.address, host.log());
    }
    Some(hosts)
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output();
    found.is_ok_and(|output| output.status.success())
}

impl Host {
    fn start(plan: &Plan, client_key: &Arc<KeyPair>) -> Self {
        let (number, lock) = free_number();
        let dir = tempfile::Builder::new().prefix("croft-host-").tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let host_key = KeyPair::generate("host").unwrap();
        let net = format!("10.213.{}", number / 64);
        let (ours, address) =
            (format!("{net}.{}", number % 64 * 4 + 1), format!("{net}.{}", number % 64 * 4 + 2));
        write_files(dir.path(), plan, number, &host_key, client_key);
        let link = format!("croft-t{number}");
        // One that is left by a process that was killed may still be on its way out; the number is ours now.
        Command::new("ip").args(["link", "del", &link]).output().unwrap();
        let (stop, stopped) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let script =
            SCRIPT.replace("@address@", &address).replace("@dir@", &dir.path().display().to_string());
        let log = File::create(dir.path().join("log")).unwrap();
        // The machine dies with the thread that started it, so that thread waits.
        let keeper = std::thread::spawn(move || {
            let mut child = spawn(&script, &log);
            tell.send(child.id()).unwrap();
            let _: Result<(), _> = stopped.recv();
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let outer = told.recv().unwrap();
        let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        while network(&outer.to_string()) == network("self") {
            std::thread::sleep(Duration::from_millis(2));
        }
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &outer.to_string()]);
        ip(&["addr", "add", &format!("{ours}/30"), "dev", &link]);
        ip(&["link", "set", &link, "up"]);
        Self {
            dir,
            address,
            host_key,
            client_key: Arc::clone(client_key),
            link,
            outer,
            stop: Some(stop),
            keeper: Some(keeper),
            _number: lock,
        }
    }

    /// The way there by croft's own ssh.
    pub(crate) fn target(&self) -> SshTarget {
        let way = SshWay::Native(Identity::Key(Arc::clone(&self.client_key)));
        SshTarget::new(&self.address, self.host_key.host_key(), way)
    }

    /// The way there by the program `ssh`.
    pub(crate) fn target_by_command(&self) -> SshTarget {
        let way = SshWay::Command {
            program: "ssh".into(),
            config: Some("/dev/null".into()),
            identity_file: Some(self.dir.path().join("id")),
        };
        SshTarget::new(&self.address, self.host_key.host_key(), way)
    }

    /// A file of its store, seen from here.
    pub(crate) fn store_file(&self, path: &str) -> PathBuf {
        let inner = self.inner();
        PathBuf::from(format!("/proc/{inner}/root{path}"))
    }

    /// The first process inside.
    fn inner(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.outer);
        let children = fs::read_to_string(children).unwrap();
        children.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    /// Runs a shell script inside.
    pub(crate) fn run(&self, script: &str) -> Output {
        let inner = self.inner().to_string();
        let args = ["-t", &inner, "-m", "-n", "-p", "--", "sh", "-c", script];
        Command::new("nsenter").args(args).output().unwrap()
    }

    /// Runs a shell script inside that must succeed, and gives what it prints.
    pub(crate) fn ask(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many bytes have been sent to it.
    pub(crate) fn bytes_sent_there(&self) -> u64 {
        let counter = format!("/sys/class/net/{}/statistics/tx_bytes", self.link);
        fs::read_to_string(counter).unwrap().trim().parse().unwrap()
    }

    /// Kills the processes inside whose name is `name`, but for the first.
    pub(crate) fn kill(&self, name: &str) {
        self.ask(&format!(
            "for dir in /proc/[0-9]*; do pid=${{dir#/proc/}}; [ \"$pid\" = 1 ] && continue; \
             [ \"$(cat $dir/comm 2>/dev/null)\" = {name} ] && kill -9 $pid; done; true"
        ));
    }

    /// Lets no packet through any more, in either direction, without a word to anybody.
    pub(crate) fn silence(&self) {
        self.ask("ip link set eth0 down");
    }

    /// What sshd and the daemon have written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // If it has panicked there is nothing left to stop.
            keeper.join().ok();
        }
        // Goes by itself with the network of the machine, but not at once.
        Command::new("ip").args(["link", "del", &self.link]).output().ok();
    }
}

fn spawn(script: &str, log: &File) -> Child {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child=KILL",
    ]);
    command.args(["--mount-proc", "sh", "-c", script]);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CROFT_") || name.starts_with("NIX_")) {
            command.env_remove(name);
        }
    }
    let stdio = || Stdio::from(log.try_clone().unwrap());
    command.stdin(Stdio::null()).stdout(stdio()).stderr(stdio()).spawn().unwrap()
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {output:?}");
}

/// A number that no other machine has, and the lock that keeps it so.
fn free_number() -> (usize, File) {
    let dir = std::env::temp_dir().join("croft-test-hosts");
    fs::create_dir_all(&dir).unwrap();
    for number in 0..MOST {
        let path = dir.join(number.to_string());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return (number, file);
        }
    }
    panic!("all {MOST} numbers for machines are taken");
}

/// What runs first inside.
const SCRIPT: &str = "
set -e
until ip link show eth0 > /dev/null 2>&1; do sleep 0.01; done
ip addr add @address@/30 dev eth0
ip link set eth0 up
ip link set lo up
mount --make-rprivate /
. @dir@/mount-store
mount --bind @dir@/nix /nix
mount --bind @dir@/etc-nix /etc/nix
mount --bind @dir@/passwd /etc/passwd
mount --bind @dir@/group /etc/group
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd /run/host
cp @dir@/host/* /run/host
chmod 600 /run/host/host_key
mount -t tmpfs tmpfs /root
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd /
. /run/host/daemon
exec /usr/sbin/sshd -D -e -f /run/host/sshd_config
";

fn write_files(dir: &Path, plan: &Plan, number: usize, host_key: &KeyPair, client_key: &KeyPair) {
    for folder in ["nix", "nix/store", "nix/var", "nix/var/nix", "etc-nix", "host"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write(
        "etc-nix/nix.conf",
        &format!(
            "build-users-group = croft-build\nexperimental-features = nix-command flakes ca-derivations\nsandbox = true\n\
             sandbox-fallback = false\nsandbox-paths = /bin/sh={}\nsubstituters =\ntrusted-users = root\n\
             max-jobs = 8\ncores = 1\n{}\n",
            busybox(),
            plan.nix_conf
        ),
    );
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let others = users.lines().filter(|line| !line.starts_with("root:")).collect::<Vec<_>>().join("\n");
    // Nix kills whatever runs as a build user before it uses that: a machine needs users that no other has.
    let ids: Vec<usize> = (0..BUILD_USERS).map(|user| 100_000 + number * BUILD_USERS + user).collect();
    let name = |id: &usize| format!("croft-build{id}");
    let builder = |id| format!("{}:x:{id}:4243::/var/empty:/bin/false", name(id));
    let builders = ids.iter().map(builder).collect::<Vec<_>>().join("\n");
    let root = "root:x:0:0:root:/root:/bin/sh";
    write("passwd", &format!("{root}\n{others}\n{USER}:x:4242:4242::/:/bin/sh\n{builders}\n"));
    let groups = fs::read_to_string("/etc/group").unwrap();
    let members = ids.iter().map(name).collect::<Vec<_>>().join(",");
    write("group", &format!("{groups}\n{USER}:x:4242:\ncroft-build:x:4243:{members}\n"));
    let mount = plan.store_size.map_or_else(String::new, |size| {
        format!(
            "mount -t tmpfs -o size={size} tmpfs {0}/nix; mkdir -p {0}/nix/store {0}/nix/var/nix\n",
            dir.display()
        )
    });
    write("mount-store", &mount);
    write("host/daemon", if plan.daemon { "nix-daemon &\n" } else { "" });
    write("host/host_key", &host_key.private_text().unwrap());
    write("host/authorized_keys", &format!("{}\n", client_key.public_line().unwrap()));
    write("id", &client_key.private_text().unwrap());
    fs::set_permissions(dir.join("id"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    write(
        "host/sshd_config",
        &format!(
            "HostKey /run/host/host_key\nPidFile none\nAuthorizedKeysFile /run/host/authorized_keys\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\n\
             MaxStartups 100:30:200\n{}\n",
            plan.sshd_conf
        ),
    );
}

/// A shell that can stand in a sandbox alone.
pub(crate) fn busybox() -> &'static str {
    let all = ["/usr/bin/busybox", "/bin/busybox"];
    all.into_iter().find(|path| Path::new(path).exists()).unwrap_or(all[0])
}
