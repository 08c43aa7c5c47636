//! The guest's image: made from pins alone, and the same each time.

use std::{path::Path, process::Command};

use crate::{
    image::{guest, run_build},
    support::has,
};

#[test]
fn two_builds_of_the_guest_are_the_same_to_the_last_byte() {
    let Some(first) = guest() else { return };
    let dir = tempfile::tempdir().unwrap();
    // Another folder, another time, another umask.
    let target = dir.path().join("a longer, stranger name");
    let second = run_build(&["--force", target.to_str().unwrap()]).unwrap();
    for part in ["manifest.json", "vmlinux", "initrd.cpio", "root.ext4", "scratch.ext4"] {
        let compared = Command::new("cmp").arg(first.join(part)).arg(second.join(part)).output().unwrap();
        assert!(compared.status.success(), "{part}: {}", String::from_utf8_lossy(&compared.stdout));
    }
    // What is there is not made again, what was changed is.
    let made = || std::fs::metadata(second.join("root.ext4")).unwrap().modified().unwrap();
    let before = made();
    run_build(&[target.to_str().unwrap()]).unwrap();
    assert_eq!(made(), before);
    std::fs::write(second.join("manifest.json"), "{}").unwrap();
    run_build(&[target.to_str().unwrap()]).unwrap();
    assert!(made() > before);
}

#[test]
fn the_nixos_builder_is_a_whole_module_with_scripts_for_a_shell() {
    if !has("nix-instantiate") {
        eprintln!("skipped: no nix-instantiate here");
        return;
    }
    let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fleet/builder-image.nix");
    let mut nix = Command::new("nix-instantiate");
    let done = nix.args(["--eval", "--strict", "--json"]).arg(stub).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(found["services"], serde_json::json!(["croft-user-data", "croft-watch", "sshd"]));
    assert_eq!(found["openssh"]["hostKeys"], serde_json::json!([]), "no key but the given one");
    for script in found["scripts"].as_array().unwrap() {
        let script = script.as_str().unwrap();
        assert!(Command::new("bash").args(["-n", "-c", script]).status().unwrap().success(), "{script}");
        assert!(script.contains("/run/croft"), "{script}");
    }
}
