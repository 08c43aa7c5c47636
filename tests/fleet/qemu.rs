//! Virtual machines: their life, and what is left of them.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use croft::{
    clock::SystemClock,
    config::{Accelerator, QemuSettings},
    fleet::{Class, InstanceId, InstanceState, MachineProvider, QemuProvider},
    ids::{FarmId, MachineId},
};

use crate::{
    image::guest,
    support::{Farm, address, guests_in, instance_id, machine, order, processes_in, until},
};

fn settings(image: &Path) -> QemuSettings {
    QemuSettings {
        image: image.to_owned(),
        memory: 320,
        disk: 512,
        accelerator: Accelerator::Tcg,
        ..QemuSettings::default()
    }
}

fn provider(settings: QemuSettings, farm: FarmId, root: &Path) -> QemuProvider {
    QemuProvider::new(settings, farm, root.to_owned(), Arc::new(SystemClock))
}

/// Ends what a test has started, also when it fails. If it is killed, the guests' own switch ends them.
struct Ended {
    root: PathBuf,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let dirs = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        for pid in dirs.flat_map(|dir| processes_in(&dir.path())) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // What was found out about this machine is of no guest.
    names.filter(|name| name != "accelerator").collect()
}

async fn state_of(provider: &QemuProvider, id: &InstanceId) -> InstanceState {
    provider.get(id).await.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_launched_once_builds_sleeps_and_leaves_nothing() {
    let Some(image) = guest() else { return };
    let farm = Farm::new();
    let root = farm.dir.path().join("fleet, with a comma");
    let _ended = Ended { root: root.clone() };
    // Whatever this machine can do, also if its KVM only seems to work.
    let automatic = QemuSettings { accelerator: Accelerator::Auto, ..settings(&image) };
    let provider = provider(automatic, farm.id, &root);
    let machine = machine();
    let id = instance_id(machine);
    let order = farm.order(machine, Duration::from_secs(180));

    // Two launches at once, and one more later: one machine.
    let (one, other) = tokio::join!(provider.launch(&order), provider.launch(&order));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other);
    assert_eq!((one.id.clone(), one.machine, one.state), (id.clone(), Some(machine), InstanceState::Running));
    assert_eq!(provider.launch(&order).await.unwrap(), one);
    let dir = root.join(machine.to_string());
    assert_eq!(processes_in(&dir).len(), 1);
    let mode = |name: &str| std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("user-data"), 0o600, "keys are for the owner alone");

    // It answers with the key that was ordered, and builds in its sandbox.
    let reached = address(one.address.as_ref());
    farm.wait_for_ssh(&reached);
    let said = farm.build(&reached, "sandboxed");
    assert!(said.contains("nixbld"), "not built by a build user: {said}");
    assert_eq!(provider.list().await.unwrap(), std::slice::from_ref(&one));
    let other_farm =
        self::provider(settings(&image), FarmId::new(croft::clock::Timestamp::from_millis(1)), &root);
    assert_eq!(other_farm.list().await.unwrap(), [], "another farm's machines are not ours");

    // Asleep it has a disk and no process; awake it has what it had.
    let dormancy = provider.dormancy().unwrap();
    dormancy.stop(&id).await.unwrap();
    until("it sleeps", || processes_in(&dir).is_empty());
    assert_eq!(state_of(&provider, &id).await, InstanceState::Stopped);
    assert_eq!(provider.list().await.unwrap().len(), 1);
    dormancy.stop(&id).await.unwrap();
    let console = String::from_utf8_lossy(&provider.console(&id).await.unwrap()).into_owned();
    assert!(console.contains("croft: powering off: the power button was pressed"), "{console}");
    dormancy.start(&id).await.unwrap();
    dormancy.start(&id).await.unwrap();
    let awake = provider.get(&id).await.unwrap();
    assert_eq!((awake.state, processes_in(&dir).len()), (InstanceState::Running, 1));
    let reached = address(awake.address.as_ref());
    farm.wait_for_ssh(&reached);
    let found = farm.ssh(&reached, "cat /nix/store/*-sandboxed");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "sandboxed\n");

    provider.terminate(&id).await.unwrap();
    assert!(processes_in(&dir).is_empty() && !dir.exists(), "something is left");
    assert_eq!(names_in(&root), Vec::<String>::new());
    provider.terminate(&id).await.unwrap();
    assert_eq!(provider.get(&id).await.unwrap_err().class, Class::Gone);
    assert_eq!(provider.list().await.unwrap(), []);
}

/// What a test starts to kill it: launches the machine that the environment names.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started, and killed, by another test"]
async fn launches_until_it_is_killed() {
    let Ok(words) = std::env::var("CROFT_TEST_LAUNCH") else { return };
    let [dir, image, farm, machine] = words.split('\n').collect::<Vec<_>>()[..] else { panic!("{words}") };
    let farm: FarmId = farm.parse().unwrap();
    let order = order(Path::new(dir), farm, machine.parse().unwrap(), LEASE);
    let provider = provider(settings(Path::new(image)), farm, &Path::new(dir).join("fleet"));
    provider.launch(&order).await.unwrap();
    std::future::pending::<()>().await;
}

/// Long enough to be reached once on a busy machine.
const LEASE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_was_killed_is_one_machine_and_ends_itself_when_nobody_comes() {
    let Some(image) = guest() else { return };
    let farm = Farm::new();
    let root = farm.dir.path().join("fleet");
    let _ended = Ended { root: root.clone() };
    let machine: MachineId = machine();
    let id = instance_id(machine);
    let dir = root.join(machine.to_string());

    let words = format!("{}\n{}\n{}\n{machine}", farm.dir.path().display(), image.display(), farm.id);
    let mut helper = Command::new(std::env::current_exe().unwrap());
    helper.args(["--exact", "qemu::launches_until_it_is_killed", "--ignored", "--nocapture"]);
    helper.env("CROFT_TEST_LAUNCH", words).stdout(Stdio::null()).stderr(Stdio::null());
    let mut helper = helper.spawn().unwrap();
    until("the launch has begun", || dir.exists());
    helper.kill().unwrap();
    helper.wait().unwrap();

    // It is found, and launched on by whoever comes next: no second one.
    let provider = provider(settings(&image), farm.id, &root);
    let listed = provider.list().await.unwrap();
    assert_eq!(listed.iter().map(|instance| instance.machine).collect::<Vec<_>>(), [Some(machine)]);
    let launched = provider.launch(&farm.order(machine, LEASE)).await.unwrap();
    assert_eq!(launched.state, InstanceState::Running);
    assert_eq!(guests_in(&dir).len(), 1);
    until("whoever came second has gone away", || processes_in(&dir).len() == 1);
    assert_eq!(guests_in(&dir).len(), 1);
    // The port is that of the process that runs, whoever started it.
    let reached = address(launched.address.as_ref());
    farm.wait_for_ssh(&reached);

    // Nobody renews its lease.
    until("it has powered itself off", || processes_in(&dir).is_empty());
    let dead = provider.get(&id).await.unwrap();
    assert_eq!(dead.state, InstanceState::Gone);
    assert!(dead.why.as_ref().unwrap().contains("nobody has renewed the lease for 40 s"), "{dead:?}");
    assert_eq!(provider.list().await.unwrap(), []);
    assert!(!dir.join("disk.ext4").exists() && !dir.join("user-data").exists(), "disk or keys are left");
    assert_eq!(provider.launch(&farm.order(machine, LEASE)).await.unwrap().state, InstanceState::Gone);
    provider.terminate(&id).await.unwrap();
    assert_eq!(names_in(&root), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_missing_is_said_with_the_next_step() {
    let farm = Farm::new();
    let root = farm.dir.path().join("fleet");
    let order = farm.order(machine(), LEASE);
    let refused = async |settings: QemuSettings| {
        let error = provider(settings, farm.id, &root).launch(&order).await.unwrap_err();
        (error.class, error.to_string())
    };
    let base = QemuSettings { image: farm.dir.path().join("none"), ..QemuSettings::default() };
    let (class, words) = refused(QemuSettings { program: "no-such-qemu".into(), ..base.clone() }).await;
    assert!(class == Class::Invalid && words.contains("install qemu"), "{words}");
    // Any program will do here: there is no guest for it.
    let (class, words) = refused(QemuSettings { program: "sh".into(), ..base.clone() }).await;
    assert!(class == Class::Invalid && words.contains("nix/guest/build"), "{words}");

    // A guest that is none, so that only the place for one is at stake.
    let image = farm.dir.path().join("image");
    std::fs::create_dir(&image).unwrap();
    for part in ["vmlinux", "initrd.cpio", "root.ext4", "scratch.ext4", "manifest.json"] {
        std::fs::write(image.join(part), "").unwrap();
    }
    let base = QemuSettings { image, program: "sh".into(), accelerator: Accelerator::Tcg, disk: 1, ..base };
    let (class, words) = refused(QemuSettings { memory: 1 << 40, ..base.clone() }).await;
    assert!(class == Class::Capacity && words.contains("of memory are needed"), "{words}");
    let (class, words) = refused(QemuSettings { disk: 1 << 40, memory: 1, ..base.clone() }).await;
    assert!(class == Class::Capacity && words.contains("of disk are needed"), "{words}");
    // A program that ends at once is no machine, and its words are told.
    let (class, words) = refused(QemuSettings { memory: 1, ..base }).await;
    assert!(class == Class::Invalid && words.contains("qemu has ended at once"), "{words}");
    assert!(processes_in(&root.join(order.machine.to_string())).is_empty());
}
