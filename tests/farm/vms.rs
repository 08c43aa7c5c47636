//! Virtual machines that croft starts for a need and ends afterwards: the real thing, emulated where it must be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    guest::guest,
    support::{Checked, Done},
    world::{LONG, World},
};

/// Emulated machines take whole processors: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A farm whose only builders are virtual machines; none, with a word why, where there can be none.
fn world(fleet: &str, pool: &str, memory: u32) -> Option<World> {
    let image = guest()?;
    World::new(&format!(
        "[fleet]\nlocal = false\n{fleet}\n[[pool]]\nname = \"vm\"\nprovider = \"qemu\"\nsystems = [\"x86_64-linux\"]\n\
         slots = 1\nmax = 2\n{pool}\n[pool.qemu]\nimage = \"{}\"\nmemory = {memory}\ndisk = 4096\n\
         accelerator = \"tcg\"\n",
        image.display()
    ))
}

/// Copies parts of the repository to where the farm's flake is, and names the flake in `folder`.
fn example(world: &World, folders: &[&str], folder: &str) -> String {
    let target = world.farm.dir().join("flake");
    for folder in folders {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &target.join(folder));
    }
    // Not every Nix finds the flake in a folder of a tree that is no git tree.
    for args in [&["init", "-q", "."][..], &["add", "-A"]] {
        assert!(Command::new("git").args(args).current_dir(&target).status().unwrap().success());
    }
    target.join(folder).display().to_string()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Where the pool keeps its machines, one folder for each.
fn rooms(world: &World) -> PathBuf {
    world.farm.state().join("fleet/qemu/vm")
}

/// The folders of machines that are there.
fn kept(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(rooms(world)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Nothing is left: no process, no disk, no key, and all machines are on record as gone. The last words of a machine
/// that has ended by itself are kept for a while.
fn assert_nothing_is_left(world: &World) {
    for room in kept(world) {
        assert!(room.join("ended").exists(), "{} is left", room.display());
        assert!(!room.join("disk.ext4").exists() && !room.join("user-data").exists(), "{}", room.display());
    }
    world.farm.wait_until_still();
    for machine in world.machines() {
        assert_eq!(machine["phase"], "gone", "{machine:#}");
    }
    world.farm.assert_sound();
}

/// The process of a machine.
fn process(world: &World, machine: &Value) -> Pid {
    let file = rooms(world).join(machine["instance"].as_str().unwrap()).join("process");
    let text = fs::read_to_string(file).unwrap();
    Pid::from_raw(text.split(' ').next().unwrap().parse().unwrap()).unwrap()
}

/// The kinds of what happened to a machine, in order.
fn story(world: &World, name: &str) -> Vec<String> {
    let events = world.events();
    let of_it = events.iter().filter_map(|event| event.strip_prefix(name)?.strip_prefix(' '));
    of_it.filter_map(|event| Some(event.split(' ').next()?.to_owned())).collect()
}

#[test]
fn the_first_example_is_built_on_two_virtual_machines() {
    let _turn = turn();
    let Some(world) = world("", "idle = \"30s\"", 384) else { return };
    let hello = example(&world, &["examples/hello", "nix/lib"], "examples/hello");
    let checked = Checked::of(world.finish(&["check", "--json", &hello]));
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(checked.cells().filter(|cell| cell["state"] == "passed").count(), 5, "{checked:#?}");
    let machines = world.machines();
    assert_eq!(machines.len(), 2, "{machines:#?}");
    for machine in &machines {
        assert_eq!(machine["ending"], "the run is over", "{machine:#}");
        assert!(machine["nix"].as_str().is_some_and(|nix| nix.starts_with("2.")), "{machine:#}");
        let story = story(&world, machine["name"].as_str().unwrap());
        let told: Vec<&str> = story.iter().map(String::as_str).filter(|kind| *kind != "not").collect();
        assert!(told.starts_with(&["requested", "launched", "reachable", "joined"]), "{story:?}");
        assert!(told.ends_with(&["ending", "gone"]), "{story:?}");
    }
    let built: u64 = machines.iter().filter_map(|machine| machine["builds"].as_u64()).sum();
    assert_eq!(built, 5, "{machines:#?}");
    assert_nothing_is_left(&world);
}

#[test]
fn an_idle_machine_is_ended_and_what_was_on_a_killed_one_is_built_on_another() {
    let _turn = turn();
    let Some(world) = world("health_interval = \"1s\"", "idle = \"2s\"", 384) else { return };
    world.cells(&[("long", "", "sleep 20; echo long > $out"), ("short", "", "sleep 1; echo short > $out")]);
    let flake = world.farm.flake();
    let mut running = world.croft(&["check", "--json", &flake]).start();
    let mut idle = || {
        assert!(running.wait_at_most(std::time::Duration::ZERO).is_none(), "{}", running.stderr());
        world.machines().iter().any(|machine| machine["phase"] == "gone" && machine["ending"] == "idle")
    };
    long_wait("a machine ended for being idle, while the other one builds", &mut idle);
    let machines = world.machines();
    let busy = machines.iter().find(|machine| machine["phase"] != "gone").unwrap();
    kill_process(process(&world, busy), Signal::KILL).unwrap();
    let done = running.wait_for_end(LONG);
    assert_eq!(done.code, Some(0), "{done:#?}");
    let attempts = world.attempts("long");
    assert_eq!(attempts[0], (busy["name"].as_str().unwrap().to_owned(), "infra".to_owned()));
    let (last, tries) = attempts.split_last().unwrap();
    assert!(last.0 != attempts[0].0 && last.1 == "passed", "{attempts:?}");
    assert!(tries.iter().all(|attempt| attempt.1 == "infra"), "{attempts:?}");
    let ending = world.machine(&attempts[0].0)["ending"].as_str().unwrap_or_default().to_owned();
    assert!(ending.contains("ended by") || ending.contains("taken back"), "{ending}");
    assert_nothing_is_left(&world);
}

#[test]
fn machines_of_a_killed_croft_power_themselves_off_and_are_swept() {
    let _turn = turn();
    let Some(world) = world("health_interval = \"2s\"\nlease = \"10s\"", "max_age = \"1d\"", 384) else {
        return;
    };
    world.cells(&[("endless", "", "sleep 600; echo x > $out")]);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    long_wait("a build", &mut || running.stderr().contains("building"));
    let machine = world.machines().remove(0);
    let guest = process(&world, &machine);
    running.signal(Signal::KILL);
    drop(running);
    let console = rooms(&world).join(machine["instance"].as_str().unwrap()).join("console.log");
    long_wait("the guest to end itself", &mut || {
        !Path::new(&format!("/proc/{}", guest.as_raw_nonzero())).exists()
    });
    let words = fs::read_to_string(console).unwrap();
    assert!(words.contains("nobody has renewed the lease for 10 s"), "{words}");
    let swept = world.finish(&["fleet", "sweep"]);
    assert_eq!(swept.code, Some(0), "{swept:#?}");
    assert_eq!(world.machines().len(), 1, "{:#?}", world.events());
    assert_nothing_is_left(&world);
}

#[test]
fn fault_23_a_machine_with_an_old_nix_is_refused_and_says_why() {
    let _turn = turn();
    let Some(world) = world("min_nix = \"99\"", "", 384) else { return };
    world.cells(&[("a", "", "echo a > $out")]);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    let refused = |event: &String| event.contains(" ending ") && event.contains("at least 99 is asked for");
    long_wait("the refusal", &mut || world.events().iter().any(refused));
    running.signal(Signal::INT);
    let done: Done = running.wait_for_end(LONG);
    assert_eq!(done.code, Some(130), "{done:#?}");
    assert_nothing_is_left(&world);
}

/// Two cells of Django's matrix, of which one has a database server.
#[test]
#[ignore = "emulated machines take four minutes for it, and it needs the pins of examples/django in the machine's store"]
fn a_part_of_djangos_matrix_is_built_on_virtual_machines() {
    let _turn = turn();
    let Some(world) = world("", "idle = \"20s\"", 1536) else { return };
    let folders = ["examples/django", "nix/lib", "nix/pins"];
    let django = example(&world, &folders, "examples/django");
    let only = ["--only", "python=3.13", "--only", "database=sqlite", "--only", "database=postgresql-17"];
    let args = [&["check", "--json", "--rebuild", &django], &only[..]].concat();
    let checked = Checked::of(world.croft(&args).on_machine_store().start().wait_for_end(3 * LONG));
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    for name in ["python-3_13-sqlite", "python-3_13-postgresql-17"] {
        assert_eq!(checked.cell(name)["state"], "passed", "{checked:#?}");
    }
    let machines = world.machines();
    assert!(machines.iter().all(|machine| machine["builds"] == 1) && machines.len() == 2, "{machines:#?}");
    assert_nothing_is_left(&world);
}

/// Waits for something that takes a machine to boot.
fn long_wait(what: &str, is_so: &mut dyn FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "still not so: {what}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
