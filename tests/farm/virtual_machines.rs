//! A pool of real virtual machines.

use std::{path::Path, process::Command};

use crate::world::World;

/// The folder of the guest, made if it is not there; none, with a word why, where that cannot be done.
fn guest() -> Option<String> {
    let built = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("nix/guest/build")).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    let has_qemu = Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    let can_be_made = !said.contains("are not in the store") && !said.contains("no program");
    if !has_qemu || !can_be_made {
        eprintln!("skipped: scripts/setup.sh machines installs what virtual machines need. {said}");
        return None;
    }
    assert!(built.status.success(), "{said}");
    Some(String::from_utf8(built.stdout).unwrap().trim().to_owned())
}

#[test]
fn a_virtual_machine_joins_builds_and_is_gone_afterwards() {
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("skipped: the guest is for x86_64");
        return;
    }
    let Some(guest) = guest() else { return };
    // Where it is emulated it is slow to start, and its clock is not good.
    let Some(world) = World::new(&format!(
        "[fleet]\nlocal = false\nhealth_interval = \"2s\"\nmax_clock_skew = \"2m\"\n[[pool]]\nname = \"vm\"\n\
         provider = \"qemu\"\nsystems = [\"x86_64-linux\"]\nslots = 2\nmax = 1\n[pool.qemu]\nimage = \"{guest}\"\n"
    )) else {
        return;
    };
    world.cells(&[("a", "", "echo a > $out"), ("bad", "", "echo why; exit 3")]);
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(1), "{checked:#?} {:#?}", world.events());
    assert_eq!((checked.state("a"), checked.state("bad")), ("passed", "failed"), "{checked:#?}");
    let machines = world.machines();
    assert_eq!(machines.len(), 1, "{machines:#?}");
    assert_eq!((machines[0]["phase"].as_str(), machines[0]["builds"].as_u64()), (Some("gone"), Some(2)));
    assert_eq!(
        world.attempts("a"),
        [(machines[0]["name"].as_str().unwrap().to_owned(), "passed".to_owned())]
    );
    world.farm.assert_sound();
}
