//! Flakes and command lines that are wrong: each ends in a sentence that names the thing, the cause and the next
//! step, in the right exit code, and with no process left over.

use std::{process::Command, time::Duration};

use super::support::{Done, Place, cell, skip};

#[test]
fn a_folder_without_a_flake_is_a_usage_error() {
    let place = Place::new();
    let work = place.work().display().to_string();
    for command in ["plan", "check"] {
        place.run(&[command]).exits(2).says(&[&work, "flake.nix", "is no flake"]);
    }
    place.run(&["check", "/nowhere/at/all"]).exits(2).says(&["/nowhere/at/all"]);
    place.run(&["check", ".#checks"]).exits(2).says(&[".#checks", "fragment", "leave out"]);
}

#[test]
fn a_flake_without_checks_says_what_to_write() {
    let place = Place::new();
    place.write("flake.nix", "{ outputs = { self }: { }; }");
    place.run(&["check"]).exits(6).says(&["has no checks", "checks.<system>.<name>"]);
    place.write("flake.nix", "{ outputs = { self }: { checks.aarch64-darwin = { }; }; }");
    place.run(&["check"]).exits(6).says(&["has no checks", "aarch64-darwin"]);
}

#[test]
fn a_syntax_error_is_named_with_file_and_line() {
    let place = Place::new();
    place.write("flake.nix", "{\n  outputs = { self }:\n    { checks = ; };\n}\n");
    place.run(&["check"]).exits(6).says(&["flake.nix:3", "syntax error", "correct the file"]);
    place.flake("import ./broken.nix");
    place.write("broken.nix", "{\n  a = [ 1;\n}\n");
    place.run(&["check"]).exits(6).says(&["broken.nix:2"]);
}

#[test]
fn a_throwing_cell_leaves_the_others_alone() {
    let place = Place::new();
    place.flake("{\n a = cell \"a\" { } ok;\n b = throw \"not today\";\n c = cell \"c\" { } ok;\n}");
    let done = place.run(&["check", "--json"]).exits(6).says(&["eval-error", "b", "not today"]);
    let report = done.json();
    assert_eq!(report["verdict"], "eval-error");
    for good in ["a", "c"] {
        assert_eq!(cell(&report, good)["state"], "passed");
    }
    let broken = cell(&report, "b");
    assert_eq!(broken["state"], "eval-error");
    assert!(broken["drv"].is_null() && broken["key"].is_null());
    let reason = broken["reason"].as_str().unwrap();
    assert!(reason.starts_with("flake.nix:") && reason.ends_with("not today"), "{reason}");
    place.run(&["plan"]).exits(6).prints(&["eval-error", "b", "not today"]);
}

#[test]
fn infinite_recursion_is_one_broken_cell() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { } ok; b = let x = x; in x; c = cell \"c\" { } ok; }");
    let report = place.run(&["check", "--json"]).exits(6).json();
    assert_eq!(cell(&report, "a")["state"], "passed");
    assert_eq!(cell(&report, "c")["state"], "passed");
    assert!(cell(&report, "b")["reason"].as_str().unwrap().contains("infinite recursion"));
}

#[test]
fn a_looping_cell_is_stopped_and_the_others_go_on() {
    let place = Place::new();
    place.write("croft.toml", "[eval]\ntimeout = \"3s\"\n");
    place.flake(
        "{ a = cell \"a\" { } ok; b = let l = builtins.genList (i: i) 1000000; in\n\
         builtins.foldl' (a: _: builtins.foldl' (b: c: c) a l) 0 l; c = cell \"c\" { } ok; }",
    );
    let done = place.run(&["check", "--json"]).exits(6);
    assert!(done.took < Duration::from_secs(60), "{:?}", done.took);
    let report = done.json();
    assert_eq!(cell(&report, "a")["state"], "passed");
    assert_eq!(cell(&report, "c")["state"], "passed");
    let reason = cell(&report, "b")["reason"].as_str().unwrap();
    assert!(reason.contains("stopped after 3 s") && reason.contains("eval.timeout"), "{reason}");
}

#[test]
fn a_memory_bomb_is_stopped_and_the_others_go_on() {
    let place = Place::new();
    place.write("croft.toml", "[eval]\nmemory = 700\ntimeout = \"60s\"\n");
    place.flake(
        "{ a = cell \"a\" { } ok; b = builtins.foldl' (a: b: a ++ a) [ 1 ] (builtins.genList (x: x) 40);\n\
         c = cell \"c\" { } ok; }",
    );
    let report = place.run(&["check", "--json"]).exits(6).json();
    assert_eq!(cell(&report, "a")["state"], "passed");
    assert_eq!(cell(&report, "c")["state"], "passed");
    let reason = cell(&report, "b")["reason"].as_str().unwrap();
    assert!(reason.contains("more than 700 MiB") && reason.contains("eval.memory"), "{reason}");
}

#[test]
fn a_hundred_thousand_cells_are_refused_at_once_with_the_count() {
    let place = Place::new();
    place.flake(
        "builtins.listToAttrs (builtins.genList (i: { name = \"c${toString i}\"; value = cell \"c\" { } ok; }) 100000)",
    );
    let done = place.run(&["check"]).exits(6).says(&["100000 checks", "50000", "eval.max_cells"]);
    assert!(done.took < Duration::from_secs(30), "{:?}", done.took);
}

#[test]
fn import_from_derivation_is_refused_unless_allowed() {
    let place = Place::new();
    place.flake(
        "{ a = cell \"a\" { } ok; b = cell \"b\" { } (builtins.readFile (cell \"made\" { } \"echo 'echo > $out' > $out\")); }",
    );
    let report = place.run(&["check", "--json"]).exits(6).json();
    assert_eq!(cell(&report, "a")["state"], "passed");
    let reason = cell(&report, "b")["reason"].as_str().unwrap();
    assert!(
        reason.contains("import from derivation") && reason.contains("import_from_derivation"),
        "{reason}"
    );
    assert_eq!(place.built("-made"), 0);
    place.write("croft.toml", "[eval]\nimport_from_derivation = \"allow\"\n");
    let report = place.run(&["check", "--json"]).exits(0).json();
    assert_eq!(cell(&report, "b")["state"], "passed");
}

#[test]
fn an_unlocked_input_is_not_locked_on_the_way() {
    let place = Place::new();
    place.write("other/flake.nix", "{ outputs = { self }: { }; }");
    let other = place.work().join("other");
    place.write(
        "main/flake.nix",
        &format!(
            "{{ inputs.other.url = \"path:{}\"; outputs = {{ self, other }}: {{ }}; }}",
            other.display()
        ),
    );
    let done = place.run(&["check", "main"]).exits(6);
    done.says(&["main", "is not locked", "nix flake lock", "flake.lock"]);
    assert!(!place.work().join("main/flake.lock").exists());
}

#[test]
fn a_missing_nix_is_named() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { } ok; }");
    let done = place.finish(place.croft(&["check"]).env("CROFT_NIX", "/nowhere"));
    done.exits(2).says(&["/nowhere", "install Nix", "CROFT_NIX"]);
}

#[test]
fn a_dead_daemon_is_infrastructure() {
    let place = Place::new();
    let socket = place.path("socket");
    // A socket file that nobody listens behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    place.write("croft.toml", &format!("[nix]\ndaemon = \"socket\"\nsocket = {socket:?}\n"));
    place.flake("{ a = cell \"a\" { } ok; }");
    for command in ["plan", "check"] {
        let done = place.run(&[command]).exits(3);
        done.says(&["cannot reach the Nix daemon", socket.to_str().unwrap(), "start"]);
    }
    let doctor = place.run(&["doctor"]).exits(3);
    doctor.prints(&["✗ nix", "cannot reach the Nix daemon"]);
}

#[test]
fn a_store_that_cannot_be_written_is_infrastructure() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { } ok; }");
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
    let croft = env!("CARGO_BIN_EXE_croft");
    let root = place.path("root").display().to_string();
    let mut command = Command::new("unshare");
    place.dress(&mut command);
    let done = place.finish(command.args(["-rm", "sh", "-c", mount, "sh", &root, croft, "check"]));
    if done.err.starts_with("unshare:") || done.err.contains("mount:") {
        skip("unshare and mount are not allowed here");
        return;
    }
    done.exits(3).says(&["cannot write to the Nix store", &root, "writable"]);
}

#[test]
fn a_system_that_nobody_builds_for_is_said_by_the_plan() {
    let place = Place::new();
    place.write(
        "flake.nix",
        "{ outputs = { self }: { checks.riscv64-linux.a = derivation { name = \"a\"; system = \"riscv64-linux\"; \
         builder = \"/bin/sh\"; }; }; }",
    );
    let plan = place.run(&["plan", "--system", "riscv64-linux"]);
    plan.prints(&["riscv64-linux", "none is configured", "infra"]);
    let done = place.run(&["check", "--json", "--system", "riscv64-linux"]).exits(3);
    let report = done.json();
    assert_eq!(cell(&report, "a")["state"], "infra");
    assert!(cell(&report, "a")["reason"].as_str().unwrap().contains("riscv64-linux"));
    place.run(&["plan", "--system", "no such system"]).exits(2).says(&["--system", "no such system"]);
}

#[test]
fn a_feature_that_nobody_has_is_said_before_anything_is_built() {
    let place = Place::new();
    place.flake(
        "{ a = cell \"a\" { } ok; b = cellWith { requiredSystemFeatures = [ \"quantum\" ]; } \"b\" { } ok; }",
    );
    place.run(&["plan"]).prints(&["b", "feature quantum", "none offers it"]);
    let report = place.run(&["check", "--json"]).exits(3).json();
    assert_eq!(cell(&report, "a")["state"], "passed");
    assert_eq!(cell(&report, "b")["state"], "infra");
    assert_eq!(cell(&report, "b")["attempts"], 0);
    assert_eq!(place.built("-b"), 0);
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let place = Place::new();
    place.write("croft.toml", "[eval]\ntimeout = \"3s\"\nmemroy = 3\n");
    place.run(&["plan"]).exits(2).says(&["croft.toml", "line 3", "memroy"]);
    place.write("croft.toml", "[eval\n");
    place.run(&["status"]).exits(2).says(&["croft.toml", "line 1"]);
    place.write("croft.toml", "[eval]\nmemory = 1\n");
    place.run(&["config"]).exits(2).says(&["eval.memory", "256"]);
    place.write("croft.toml", "");
    let variable = |name: &str, value: &str| place.finish(place.croft(&["config"]).env(name, value));
    variable("CROFT_BUILD_SLOTS", "many").exits(2).says(&["CROFT_*", "many"]);
    variable("CROFT_EVAL_TIMEOUT", "soon").exits(2).says(&["CROFT_*", "soon", "30s"]);
    place.run(&["--config", "absent.toml", "plan"]).exits(2).says(&["absent.toml"]);
}

#[test]
fn what_is_not_there_is_a_usage_error() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { size = \"small\"; } ok; }");
    let nothing = |done: Done, what: &str| done.exits(2).says(&["no cell matches", what, "croft plan"]);
    nothing(place.run(&["plan", "--only", "size=big"]), "size=big");
    nothing(place.run(&["check", "--only", "size=big"]), "size=big");
    nothing(place.run(&["check", "--only", "zebra"]), "zebra");
    for command in ["show", "log"] {
        place.run(&[command, "zebra"]).exits(2).says(&["zebra", "croft status"]);
    }
    place.run(&["check", "--max-jobs", "0"]).exits(2).says(&["--max-jobs", "0"]);
    place.run(&["chekc"]).exits(2).says(&["chekc", "check"]);
    place.run(&["check", "--json", "--jsonl"]).exits(2).says(&["--json", "--jsonl"]);
    place.run(&["plan", "--retry-failed", "--rebuild"]).exits(2).says(&["--rebuild"]);
}
