//! Instances that are real: a launch gives a machine that lets the farm in, and its end ends it.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use croft::{
    config::Settings,
    fleet::{Caller, Ec2, Identity, Instance, InstanceState, LaunchOrder, MachineProvider, Secret},
};
use tempfile::TempDir;

use crate::{
    bridge::{Backing, Bridge, Net},
    fake_ec2::FakeEc2,
    moto::Moto,
    support::{World, quick, usual},
};

/// The longest that a machine is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A farm whose machines are real.
struct Cloud {
    bridge: Bridge,
    world: World,
    keys: TempDir,
}

impl Cloud {
    fn new(net: Net, endpoint: &str, backing: Backing) -> Self {
        let bridge = Bridge::start(net, endpoint, backing);
        let mut settings: Settings = toml::from_str(&bridge.pool_toml("max = 4")).unwrap();
        let mut world = World::new(endpoint, "ami = \"x\"");
        world.pool = settings.pool.remove(0);
        let keys = tempfile::tempdir().unwrap();
        for name in ["host", "farm"] {
            let output = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(keys.path().join(name))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        Self { bridge, world, keys }
    }

    fn order(&self) -> LaunchOrder {
        let read = |name: &str| fs::read_to_string(self.keys.path().join(name)).unwrap();
        let mut order = self.world.order(usual());
        order.shape.zone = self.world.pool.zones.first().cloned();
        order.identity = Identity {
            host_key: Secret::new(read("host")),
            host_key_public: read("host.pub").trim().to_owned(),
            authorized_key: read("farm.pub").trim().to_owned(),
        };
        order
    }

    /// Calls the provider from within the network.
    fn ask<T: Send + 'static>(&self, question: impl AsyncFnOnce(&Ec2) -> T + Send + 'static) -> T {
        let (farm, pool) = (self.world.farm, self.world.pool.clone());
        let caller = Caller::Keys { id: "AKIAFAKE".to_owned(), secret: Secret::new("s".to_owned()) };
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let provider = Ec2::open(farm, &pool, caller, quick(3)).await.unwrap();
                question(&provider).await
            })
        };
        self.bridge.net().spawn(work).join().unwrap()
    }

    fn launch(&self) -> Instance {
        self.launch_as(self.order())
    }

    fn launch_as(&self, order: LaunchOrder) -> Instance {
        self.ask(async move |provider| {
            let launched = provider.launch(&order).await.unwrap();
            crate::support::until(provider, &launched, InstanceState::Running).await
        })
    }

    #[track_caller]
    fn wait_until(&self, instance: &Instance, state: InstanceState) -> Instance {
        self.wait_until_after(instance, state, || {})
    }

    /// Does something until it has brought the instance into a state.
    #[track_caller]
    fn wait_until_after(&self, instance: &Instance, state: InstanceState, again: impl Fn()) -> Instance {
        let start = Instant::now();
        loop {
            again();
            let id = instance.id.clone();
            let seen = self.ask(async move |provider| provider.get(&id).await.unwrap());
            if seen.state == state {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "{} is {:?}, not {state:?}", instance.id, seen.state);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a command on a machine, whose key must be the one that it was told to have.
    fn ssh(&self, instance: &Instance, script: &str) -> Output {
        let host = fs::read_to_string(self.keys.path().join("host.pub")).unwrap();
        fs::write(self.keys.path().join("known"), format!("machine {host}")).unwrap();
        let mut command = self.bridge.command("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        command.args([
            "-o",
            "HostKeyAlias=machine",
            "-o",
            "ConnectTimeout=5",
            "-o",
            "ServerAliveInterval=2",
            "-i",
        ]);
        command.arg(self.keys.path().join("farm"));
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.keys.path().join("known").display()));
        let address = crate::support::address(instance);
        command.arg(format!("root@{}", address.host)).arg(script).output().unwrap()
    }

    /// Runs a command on a machine as soon as it can be run with success, and gives what it prints.
    fn ssh_until_it_works(&self, instance: &Instance, script: &str) -> String {
        let start = Instant::now();
        loop {
            let output = self.ssh(instance, script);
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "{script}: {output:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The life of machines on some EC2: they join, answer, end when they are told to, and end by themselves.
fn life(cloud: &Cloud) {
    let first = cloud.launch();
    let second = cloud.launch();
    assert!(cloud.ssh_until_it_works(&first, "nix-store --version").contains("nix-store"));
    cloud.ssh_until_it_works(&second, "true");
    assert!(!cloud.ssh(&second, "test -e /run/croft/interruption").status.success());
    cloud.bridge.give_notice(second.id.as_str());
    assert!(cloud.ssh_until_it_works(&second, "cat /run/croft/interruption").contains("terminate"));
    cloud.ask({
        let id = first.id.clone();
        async move |provider| provider.terminate(&id).await.unwrap()
    });
    cloud.wait_until(&first, InstanceState::Gone);
    cloud.bridge.wait_for("the end of the first", |machines| !machines.contains_key(first.id.as_str()));
    assert!(!cloud.ssh(&first, "true").status.success(), "it still answers");
    // Its own end is the instance's, since it was launched so. The connection breaks off under it.
    // A machine that is slow to answer has not heard it.
    cloud.wait_until_after(&second, InstanceState::Gone, || drop(cloud.ssh(&second, "poweroff -f")));
    cloud.bridge.wait_for("the end of the second", BTreeMap::is_empty);
    let listed = cloud.ask(async move |provider| provider.list().await.unwrap());
    assert_eq!(listed, []);
}

fn on_fake(test: impl FnOnce(&Cloud, &FakeEc2)) {
    let Some(net) = Net::new() else { return };
    let ec2 = FakeEc2::on(net.listen());
    let cloud = Cloud::new(net, ec2.endpoint(), Backing::Namespace);
    test(&cloud, &ec2);
    ec2.assert_sound();
}

#[test]
fn machines_of_the_fake_ec2_live_and_end() {
    on_fake(|cloud, _| life(cloud));
}

#[test]
fn machines_of_moto_live_and_end() {
    let Some(net) = Net::new() else { return };
    let Some(moto) = Moto::in_network(&net.way()) else { return };
    life(&Cloud::new(net, moto.endpoint(), Backing::Namespace));
}

#[test]
fn a_virtual_machine_behind_moto_lives_and_ends() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let guest = cache.or_else(home).unwrap_or_default().join("croft/guest");
    if !guest.join("root.ext4").exists() {
        eprintln!("skipped: there is no guest in {}; make it with nix/guest/build", guest.display());
        return;
    }
    let Some(net) = Net::new() else { return };
    let Some(moto) = Moto::in_network(&net.way()) else { return };
    life(&Cloud::new(net, moto.endpoint(), Backing::Qemu(guest)));
}

#[test]
fn fault_22_an_instance_can_run_and_never_answer() {
    on_fake(|cloud, _| {
        cloud.bridge.never_join(1);
        let mute = cloud.launch();
        let joining = cloud.launch();
        cloud.ssh_until_it_works(&joining, "true");
        assert!(!cloud.ssh(&mute, "true").status.success());
        assert_eq!(cloud.wait_until(&mute, InstanceState::Running).state, InstanceState::Running);
    });
}

#[test]
fn fault_30_a_machine_that_nobody_renews_ends_by_itself() {
    on_fake(|cloud, _| {
        let order = LaunchOrder { lease: Duration::from_secs(4), ..cloud.order() };
        let left = cloud.launch_as(order);
        let kept = cloud.launch_as(LaunchOrder { lease: Duration::from_secs(600), ..cloud.order() });
        cloud.wait_until(&left, InstanceState::Gone);
        cloud.ssh_until_it_works(&kept, "touch /run/croft/lease");
    });
}

#[test]
fn a_machine_keeps_its_store_while_it_sleeps() {
    on_fake(|cloud, _| {
        let machine = cloud.launch();
        cloud.ssh_until_it_works(&machine, "echo here > /nix/kept");
        let id = Arc::new(machine.id.clone());
        cloud.ask({
            let id = Arc::clone(&id);
            async move |provider| provider.dormancy().unwrap().stop(&id).await.unwrap()
        });
        cloud.wait_until(&machine, InstanceState::Stopped);
        cloud.bridge.wait_for("the machine to sleep", BTreeMap::is_empty);
        cloud.ask(async move |provider| provider.dormancy().unwrap().start(&id).await.unwrap());
        cloud.wait_until(&machine, InstanceState::Running);
        assert_eq!(cloud.ssh_until_it_works(&machine, "cat /nix/kept"), "here\n");
    });
}

#[test]
fn two_clouds_at_once_do_not_meet() {
    on_fake(|first, _| {
        on_fake(|second, _| {
            let (a, b) = (first.launch(), second.launch());
            assert_eq!(a.address, b.address, "each has its own network");
            first.ssh_until_it_works(&a, "echo first > /run/name");
            second.ssh_until_it_works(&b, "echo second > /run/name");
            assert_eq!(first.ssh_until_it_works(&a, "cat /run/name"), "first\n");
        });
    });
}
