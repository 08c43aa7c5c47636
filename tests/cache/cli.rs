//! `croft cache` as users and services call it.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use croft::nix::StorePath;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    nix_support::LiveNix,
    support::{absolute, build_pair, run, substitute},
};

fn croft(nix: &LiveNix, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
    command
        .arg("cache")
        .args(args)
        .env("CROFT_STATE_DIR", dir.join("state"))
        .env("CROFT_CACHE_URL", dir.join("cache"))
        .env("CROFT_NIX_ROOT", nix.root())
        .env("CROFT_NIX_DAEMON", "stdio")
        .env("HOME", dir)
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// Serves, lets a Nix substitute from there, and stops by Ctrl-C.
#[track_caller]
fn serve_once(nix: &LiveNix, dir: &Path, args: &[&str], path: &StorePath) {
    let mut command = croft(nix, dir, &[&["serve", "--listen", "127.0.0.1:0"], args].concat());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.by_ref().find_map(|line| line.split_once(" at ").map(|(_, url)| url.to_owned())).unwrap();
    let key = lines.find_map(|line| line.strip_prefix("trusted-public-keys = ").map(str::to_owned)).unwrap();
    let taken = substitute(&nix.sibling(), &url, &key, path);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = child.wait().unwrap();
    assert!(taken.status.success(), "{args:?}: {}", taken.stderr.escape_ascii());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn paths_and_links_are_pushed_served_and_checked() {
    let Some(nix) = LiveNix::all().into_iter().find(|nix| nix.name == "system") else { return };
    let path = build_pair(&nix, "cli");
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("result");
    std::os::unix::fs::symlink(absolute(&path), &link).unwrap();

    let pushed = croft(&nix, dir.path(), &["push", "./result"]).output().unwrap();
    let said = String::from_utf8(pushed.stderr).unwrap();
    assert!(pushed.status.success(), "{said}");
    assert!(said.contains("made a key") && said.contains("2 paths written"), "{said}");
    let again = croft(&nix, dir.path(), &["push", &absolute(&path)]).output().unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        !said.contains("made a key") && said.contains("0 paths written") && said.contains("2 there before"),
        "{said}"
    );
    let secret = dir.path().join("state/cache-key.secret");
    assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let key = run(&mut croft(&nix, dir.path(), &["key"]));
    assert!(key.starts_with("croft-") && !std::fs::read_to_string(&secret).unwrap().contains(key.trim()));

    serve_once(&nix, dir.path(), &[], &path);
    serve_once(&nix, dir.path(), &["--store"], &path);

    let sound: serde_json::Value =
        serde_json::from_str(&run(&mut croft(&nix, dir.path(), &["check", "--json"]))).unwrap();
    assert_eq!((sound["sound"].as_u64(), sound["findings"].as_array().unwrap().len()), (Some(2), 0));
    let nar = std::fs::read_dir(dir.path().join("cache/nar")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&nar, "broken").unwrap();
    let broken = croft(&nix, dir.path(), &["check"]).output().unwrap();
    assert_eq!(broken.status.code(), Some(3));
    assert!(String::from_utf8(broken.stdout).unwrap().starts_with("broken: "));
}

#[test]
fn attributes_of_flakes_are_pushed() {
    let Some(nix) = LiveNix::all().into_iter().find(|nix| nix.name == "system") else { return };
    let dir = tempfile::tempdir().unwrap();
    let flake = "{ outputs = _: { x = derivation { name = \"x\"; system = \"x86_64-linux\"; \
                 builder = \"/bin/sh\"; args = [ \"-c\" \"echo x > $out\" ]; }; }; }";
    std::fs::write(dir.path().join("flake.nix"), flake).unwrap();
    let config = "build-users-group =\nsandbox-paths = /bin/sh=/usr/bin/busybox\nsubstituters =\n\
                  experimental-features = nix-command flakes\n";
    let store = format!("local?root={}", nix.root().display());
    let mut build = nix.command("nix", crate::nix_support::Trusted::Yes);
    run(build
        .env("NIX_CONFIG", config)
        .args(["build", "--no-link", "--store", &store])
        .arg(format!("path:{}#x", dir.path().display())));
    let mut push = croft(&nix, dir.path(), &["push", "path:.#x"]);
    let pushed = push.env("NIX_CONFIG", config).output().unwrap();
    let said = String::from_utf8(pushed.stderr).unwrap();
    assert!(pushed.status.success() && said.contains("1 path written"), "{said}");
}

#[test]
fn mistakes_are_named() {
    let Some(nix) = LiveNix::all().into_iter().find(|nix| nix.name == "system") else { return };
    let dir = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], env: (&str, &str), code: i32, words: &[&str]| {
        let out = croft(&nix, dir.path(), args).env(env.0, env.1).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    fails(&["push", "/tmp"], ("X", ""), 2, &["/tmp is neither in the store"]);
    fails(&["check"], ("CROFT_CACHE_URL", "cache"), 2, &["s3://"]);
    fails(&["check"], ("CROFT_CACHE_URL", "https://me:hunter2@h"), 2, &["credentials_file"]);
    fails(&["push", "/nix/store/00000000000000000000000000000000-x"], ("X", ""), 3, &["not valid"]);
    fails(
        &["push", "/nix/store/00000000000000000000000000000000-x"],
        ("CROFT_CACHE_PUSH", "none"),
        2,
        &["cache.push"],
    );
    fails(&["serve", "--listen", "203.0.113.1:1"], ("X", ""), 3, &["choose another --listen"]);
}
