//! A tree that was locked before is known again by its content, and by nothing less.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::support::{Place, cell};

/// A place whose `nix` notes what it is asked.
struct Watched {
    place: Place,
    nix: std::path::PathBuf,
}

impl Watched {
    fn new() -> Self {
        let bin = tempfile::Builder::new().prefix("croft-relock-").tempdir().unwrap().keep();
        let nix = bin.join("nix");
        let real = std::env::var("CROFT_NIX").unwrap_or_else(|_| "/usr/bin/env nix".to_owned());
        let log = bin.join("log");
        fs::write(&nix, format!("#!/bin/sh\necho \"$*\" >>{}\nexec {real} \"$@\"\n", log.display())).unwrap();
        fs::set_permissions(&nix, fs::Permissions::from_mode(0o755)).unwrap();
        Self { place: Place::with_nix(&nix), nix }
    }

    /// Checks the flake, and says whether Nix was asked to lock it.
    #[track_caller]
    fn check(&self, more: &[&str]) -> (bool, Value) {
        let log = self.nix.with_file_name("log");
        fs::write(&log, "").unwrap();
        let flake = format!("path:{}", self.place.work().display());
        let report = self.place.run(&[&["check", "--json", &flake], more].concat()).exits(0).json();
        let asked = fs::read_to_string(&log).unwrap();
        (asked.lines().any(|line| line.starts_with("flake metadata")), report)
    }

    fn flake(&self, name: &str) {
        self.place.flake(&format!("{{ {name} = cell \"{name}\" {{ }} ok; }}"));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        fs::remove_dir_all(self.nix.parent().unwrap()).ok();
    }
}

fn time_of(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn set_time(file: &Path, time: SystemTime) {
    fs::File::open(file).unwrap().set_modified(time).unwrap();
}

#[test]
fn the_same_tree_is_locked_once_and_any_other_anew() {
    let watched = Watched::new();
    let (place, file) = (&watched.place, watched.place.work().join("flake.nix"));
    watched.flake("one");
    let extra = place.write("extra", "x");
    let (asked, first) = watched.check(&[]);
    assert!(asked);
    let (asked, again) = watched.check(&[]);
    assert!(!asked, "the tree is known");
    assert_eq!((&again["flake"], &again["fingerprint"]), (&first["flake"], &first["fingerprint"]));

    // The same length and the same times, of the file and of its folder, do not hide another content.
    let times = [&file, &place.work()].map(|path| fs::metadata(path).unwrap().modified().unwrap());
    watched.flake("two");
    set_time(&file, times[0]);
    set_time(&place.work(), times[1]);
    let (asked, report) = watched.check(&[]);
    assert!(asked && cell(&report, "two")["state"] == "passed");
    watched.flake("one");
    set_time(&file, times[0]);
    set_time(&place.work(), times[1]);
    let (asked, report) = watched.check(&[]);
    assert_eq!((asked, &report["fingerprint"]), (false, &first["fingerprint"]), "the first tree is back");

    // A flake can see its time, so another time is asked about; so are another mode, a new file and a new link.
    set_time(&extra, time_of(&extra) + Duration::from_secs(100));
    assert!(watched.check(&[]).0, "another time");
    fs::set_permissions(&extra, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(watched.check(&[]).0, "another mode");
    place.write("sub/new", "");
    assert!(watched.check(&[]).0, "a new file");
    std::os::unix::fs::symlink("extra", place.work().join("link")).unwrap();
    assert!(watched.check(&[]).0, "a new link");
    assert!(!watched.check(&[]).0, "and known again");
}

#[test]
fn a_tree_that_is_gone_from_the_store_or_another_nix_is_asked_about() {
    let watched = Watched::new();
    watched.flake("one");
    let (_, first) = watched.check(&[]);
    assert!(!watched.check(&[]).0);
    // As after an upgrade.
    set_time(&watched.nix, time_of(&watched.nix) - Duration::from_secs(1_000));
    assert!(watched.check(&[]).0, "another Nix");
    assert!(!watched.check(&[]).0);
    let store = watched.place.path("root").join("nix/store");
    let source = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let source = source.into_iter().find(|name| name.ends_with("-source")).unwrap();
    let mut delete = Command::new(&watched.nix);
    watched.place.dress(&mut delete);
    let root = watched.place.path("root");
    delete.args(["--extra-experimental-features", "nix-command", "store", "delete", "--store"]);
    let done = delete.arg(&root).arg(format!("/nix/store/{source}")).output().unwrap();
    assert!(done.status.success(), "{}", done.stderr.escape_ascii());
    assert!(!store.join(&source).exists());
    let (asked, report) = watched.check(&[]);
    assert!(asked, "its copy is gone");
    assert!(store.join(&source).exists());
    assert_eq!(cell(&report, "one")["state"], "reused");
    assert!(first["fingerprint"].is_string());
}

#[test]
fn an_override_is_always_asked_about() {
    let watched = Watched::new();
    let other = watched.place.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("flake.nix"), "{ outputs = { self }: { }; }").unwrap();
    let text = fs::read_to_string({
        watched.flake("one");
        watched.place.work().join("flake.nix")
    })
    .unwrap();
    let with = text.replacen('{', &format!("{{ inputs.dep.url = \"path:{}\";", other.display()), 1);
    watched.place.write("flake.nix", &with.replace("{ self }:", "{ self, dep }:"));
    let dep = format!("path:{}", other.display());
    for _ in 0..2 {
        assert!(watched.check(&["--override-input", "dep", &dep]).0);
    }
}
