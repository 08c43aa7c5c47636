//! A network of its own, and processes that end with this one.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// This side's address in the network of the machines.
pub(super) const GATEWAY: &str = "172.31.255.254";
/// What makes the network: a switch that machines are plugged into, with the address of the metadata service.
const SCRIPT: &str = r"
set -e
ip link set lo up
ip link add br0 type bridge
ip addr add 172.31.255.254/16 dev br0
ip addr add 169.254.169.254/32 dev br0
ip link set br0 up
echo up
exec sleep infinity
";

/// A process that ends with this one. It is killed when it is dropped.
pub(super) struct Owned {
    pid: u32,
    ended: Arc<Mutex<bool>>,
    keeper: Option<JoinHandle<()>>,
}

impl Owned {
    /// Starts it from a thread that waits for it: it dies with the thread that starts it.
    pub(super) fn start(net: Option<&Net>, mut command: Command) -> Self {
        let ended = Arc::new(Mutex::new(false));
        let (tell, told) = mpsc::channel();
        let work = {
            let ended = Arc::clone(&ended);
            move || {
                let mut child = command.spawn().unwrap();
                tell.send(child.id()).unwrap();
                // Held as not ended until the number is free again, so that no other process is killed.
                loop {
                    let mut ended = ended.lock().unwrap();
                    if child.try_wait().unwrap().is_some() {
                        *ended = true;
                        return;
                    }
                    drop(ended);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
        };
        let keeper = match net {
            Some(net) => net.spawn(work),
            None => std::thread::spawn(work),
        };
        Self { pid: told.recv().unwrap(), ended, keeper: Some(keeper) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap()
    }

    /// Kills it if it is there.
    pub(super) fn kill(&self) {
        let ended = self.ended.lock().unwrap();
        if !*ended {
            let pid = Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
        if let Some(keeper) = self.keeper.take() {
            // One that has panicked has printed why.
            keeper.join().ok();
        }
    }
}

/// A network with nothing else in it.
pub(crate) struct Net {
    holder: Owned,
}

impl Net {
    /// A new one; none, with a word why, where there can be none.
    pub(crate) fn new() -> Option<Self> {
        let skipped = |why: &str| {
            eprintln!("skipped: {why}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skipped("a network of its own needs root");
        }
        for program in ["ip", "unshare", "setpriv", "nsenter", "/usr/sbin/sshd", "nix-daemon"] {
            let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output();
            if !found.is_ok_and(|output| output.status.success()) {
                return skipped(&format!("there is no {program} here, which machines need"));
            }
        }
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--", "sh", "-c", SCRIPT]);
        command.stdin(Stdio::null()).stdout(writer);
        let holder = Owned::start(None, command);
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "the network could not be made");
        Some(Self { holder })
    }

    /// The words that lead into it.
    pub(crate) fn way(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.holder.pid()), "--".to_owned()]
    }

    /// A program in it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let way = self.way();
        let mut command = Command::new(&way[0]);
        command.args(&way[1..]).arg(program);
        command
    }

    /// A thread in it, and all threads and processes that this one starts.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let place = File::open(format!("/proc/{}/ns/net", self.holder.pid())).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    /// A listener in it, on a free port of its loopback.
    pub(crate) fn listen(&self) -> TcpListener {
        self.listen_on("127.0.0.1:0")
    }

    pub(super) fn listen_on(&self, address: &'static str) -> TcpListener {
        self.spawn(move || TcpListener::bind(address).unwrap()).join().unwrap()
    }

    /// Runs `ip` in it.
    pub(super) fn ip(&self, args: &[&str]) {
        let output = self.command("ip").args(args).output().unwrap();
        assert!(output.status.success(), "ip {args:?}: {output:?}");
    }
}
