//! Makes the instances of an EC2 on loopback real: for each one that is pending or running, a machine at the private
//! address that the EC2 has told, with the user data that it was launched with.
//!
//! All of it stands in a network of its own, with the metadata service at its usual address: two of these do not
//! meet. The machines end with this process, however that ends.

#![allow(dead_code, clippy::allow_attributes, reason = "each program uses its part of this")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and speak")]

mod imds;
mod namespace;
mod net;
mod qemu;
mod query;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) use net::Net;
use query::{Ec2Query, Seen};

/// How often the EC2 is asked what there is.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that a machine is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands behind an instance.
#[derive(Debug, Clone)]
pub(crate) enum Backing {
    /// Namespaces with an sshd and a store: there in a moment.
    Namespace,
    /// A virtual machine of the guest in this folder, which `nix/guest/build` makes.
    Qemu(PathBuf),
}

/// A machine behind an instance.
struct Guest {
    address: String,
    user_data: Vec<u8>,
    process: net::Owned,
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    guests: BTreeMap<String, Guest>,
    /// Instances that have a notice.
    notices: BTreeSet<String>,
    /// How many of the next machines never answer.
    mute: u32,
    /// How many machines were started.
    started: u32,
}

/// Makes instances real until it is dropped.
pub(crate) struct Bridge {
    net: Arc<Net>,
    endpoint: String,
    shared: Arc<Mutex<Shared>>,
    subnets: Vec<(String, String)>,
    stop: Option<mpsc::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Bridge {
    /// Makes the instances of the EC2 at `endpoint` real, which is reached from within `net`.
    pub(crate) fn start(net: Net, endpoint: &str, backing: Backing) -> Self {
        let net = Arc::new(net);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let subnets = {
            let ec2 = Ec2Query::new(endpoint);
            net.spawn(move || ec2.subnets().unwrap()).join().unwrap()
        };
        let (stop, stopped) = mpsc::channel();
        let imds = imds::serve(&net, Arc::clone(&shared));
        let watch = {
            let ec2 = Ec2Query::new(endpoint);
            let shared = Arc::clone(&shared);
            let mut watcher = Watcher { ec2, shared, backing, net: Arc::clone(&net), kept: BTreeMap::new() };
            net.spawn(move || {
                while stopped.recv_timeout(PAUSE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    watcher.turn();
                }
                imds.stop();
                watcher.shared.lock().unwrap().guests.clear();
            })
        };
        Self { net, endpoint: endpoint.to_owned(), shared, subnets, stop: Some(stop), threads: vec![watch] }
    }

    /// A program that runs in the bridge's network, with credentials for its EC2.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.net.command(program);
        command.env("AWS_ACCESS_KEY_ID", "AKIAFAKE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_PROFILE");
        command
    }

    /// The network.
    pub(crate) fn net(&self) -> &Net {
        &self.net
    }

    /// `[[pool]]` and `[pool.ec2]` for machines of this EC2; `more` are further lines of `[[pool]]`.
    pub(crate) fn pool_toml(&self, more: &str) -> String {
        let quoted =
            |texts: Vec<&str>| texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
        let zones = quoted(self.subnets.iter().map(|(_, zone)| zone.as_str()).collect());
        let subnets = quoted(self.subnets.iter().map(|(subnet, _)| subnet.as_str()).collect());
        format!(
            "[[pool]]\nname = \"cloud\"\nprovider = \"ec2\"\nsystems = [\"{}-linux\"]\n\
             types = [\"c7i.large\", \"c7a.large\"]\nzones = [{zones}]\n{more}\n[pool.ec2]\n\
             region = \"us-east-1\"\nendpoint = \"{}\"\nami = \"ami-12c6146b\"\nsetup = \"image\"\n\
             subnets = [{subnets}]\n",
            std::env::consts::ARCH,
            self.endpoint
        )
    }

    /// The next machines start, but nothing in them ever answers.
    pub(crate) fn never_join(&self, machines: u32) {
        self.shared().mute = machines;
    }

    /// The metadata service of a machine says that it will be taken back.
    pub(crate) fn give_notice(&self, id: &str) {
        self.shared().notices.insert(id.to_owned());
    }

    /// Kills a machine without a word, as a host that fails does.
    pub(crate) fn crash(&self, id: &str) {
        let shared = self.shared();
        shared.guests[id].process.kill();
    }

    /// The instances that have a machine now, and their addresses.
    pub(crate) fn machines(&self) -> BTreeMap<String, String> {
        self.shared().guests.iter().map(|(id, guest)| (id.clone(), guest.address.clone())).collect()
    }

    /// The instances of farms that the EC2 tells of, and whether each of them is gone.
    pub(crate) fn instances(&self) -> BTreeMap<String, bool> {
        let ec2 = Ec2Query::new(&self.endpoint);
        let seen = self.net.spawn(move || ec2.instances().unwrap()).join().unwrap();
        seen.into_iter().map(|seen| (seen.id, seen.is_gone)).collect()
    }

    /// How many machines were started in all.
    pub(crate) fn started(&self) -> u32 {
        self.shared().started
    }

    /// Waits until the machines are as `wanted`.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&BTreeMap<String, String>) -> bool) {
        let start = Instant::now();
        while !wanted(&self.machines()) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}: {:?}", self.machines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            // One that has panicked has printed why.
            thread.join().ok();
        }
    }
}

/// Compares what the EC2 says with the machines that there are.
struct Watcher {
    ec2: Ec2Query,
    shared: Arc<Mutex<Shared>>,
    backing: Backing,
    net: Arc<Net>,
    /// What a machine keeps while it is stopped.
    kept: BTreeMap<String, TempDir>,
}

impl Watcher {
    fn turn(&mut self) {
        // An EC2 that does not answer says nothing of its instances.
        let Ok(seen) = self.ec2.instances() else { return };
        for seen in &seen {
            if seen.is_up {
                self.should_run(seen);
            } else {
                self.shared.lock().unwrap().guests.remove(&seen.id);
                if seen.is_gone {
                    self.kept.remove(&seen.id);
                }
            }
        }
        let ids: BTreeSet<&str> = seen.iter().map(|seen| seen.id.as_str()).collect();
        self.shared.lock().unwrap().guests.retain(|id, _| ids.contains(id.as_str()));
    }

    fn should_run(&mut self, seen: &Seen) {
        let ended = {
            let shared = self.shared.lock().unwrap();
            shared.guests.get(&seen.id).map(|guest| guest.process.has_ended())
        };
        match ended {
            Some(false) => {}
            // Told until the EC2 has heard it; only then does the machine count as gone.
            Some(true) => {
                self.ec2.powered_off(&seen.id).ok();
            }
            None => {
                let Ok(user_data) = self.ec2.user_data(&seen.id) else { return };
                self.boot(seen, user_data);
            }
        }
    }

    fn boot(&mut self, seen: &Seen, user_data: Vec<u8>) {
        let dir = self
            .kept
            .entry(seen.id.clone())
            .or_insert_with(|| tempfile::Builder::new().prefix("croft-cloud-").tempdir().unwrap());
        let mut shared = self.shared.lock().unwrap();
        let is_mute = shared.mute > 0;
        shared.mute = shared.mute.saturating_sub(1);
        shared.started += 1;
        let process = match &self.backing {
            Backing::Namespace => {
                namespace::start(&self.net, dir.path(), shared.started, &seen.address, &user_data, is_mute)
            }
            Backing::Qemu(guest) => {
                qemu::start(&self.net, dir.path(), shared.started, &seen.address, guest, is_mute)
            }
        };
        let guest = Guest { address: seen.address.clone(), user_data, process };
        shared.guests.insert(seen.id.clone(), guest);
    }
}
