//! The core of croft with every version of Nix that is here: that of PATH, and those in the folders below
//! `CROFT_NIX_VERSIONS`. The verdicts are the same, and so are the keys.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test program uses a part")]
#[path = "cli/support.rs"]
mod support;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};
use support::{Place, cell, skip};

/// The name of the Nix that is on PATH.
const PATH: &str = "PATH";

/// A name for a Nix, and its program; none for that of PATH.
type Version = (String, Option<PathBuf>);

fn versions() -> Vec<Version> {
    let mut found = vec![(PATH.to_owned(), None)];
    let Some(folder) = std::env::var_os("CROFT_NIX_VERSIONS") else {
        skip("other versions of Nix; CROFT_NIX_VERSIONS names no folder with <version>/bin/nix");
        return found;
    };
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for folder in entries.iter().filter(|folder| folder.join("bin/nix").is_file()) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        found.push((name.to_owned(), Some(folder.join("bin/nix"))));
    }
    found
}

/// Does `work` with each version at the same time, and returns what came of it.
fn with_each<T: Send>(work: impl Fn(&str, &Place) -> T + Sync) -> BTreeMap<String, T> {
    let work = &work;
    std::thread::scope(|scope| {
        let one = |(name, nix): Version| {
            scope.spawn(move || {
                let place = nix.map_or_else(Place::new, |nix| Place::with_nix(&nix));
                let done = work(&name, &place);
                (name, done)
            })
        };
        let all: Vec<_> = versions().into_iter().map(one).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn assert_all_equal<T: PartialEq + std::fmt::Debug>(results: &BTreeMap<String, T>) {
    let mut all = results.iter();
    let (first, expected) = all.next().unwrap();
    for (name, result) in all {
        assert_eq!(result, expected, "{name} and {first} differ");
    }
}

/// The cells with what may not depend on the version: name, key, state, tests.
fn essence(report: &Value) -> Vec<Value> {
    let fields =
        |cell: &Value| json!([cell["name"], cell["key"], cell["axes"], cell["state"], cell["tests"]]);
    report["cells"].as_array().unwrap().iter().map(fields).collect()
}

const CHECKS: &str = r#"let library = cell "library-1.0" { } "echo 1 > $out"; in {
  good = cell "good" { kind = "good"; } "read v < ${library}; echo $v > $out";
  bad = cell "bad" { kind = "bad"; } ''
    echo a word before the end
    echo '@croft {"v":1,"event":"test","suite":"s","name":"breaks","status":"failed","ms":4,"message":"1 is not 2"}'
    exit 1
  '';
  refused = expecting "fail" (cell "refused" { kind = "refused"; } ok);
  thrower = throw "not today";
}"#;

#[test]
fn verdicts_logs_and_keys_are_the_same_with_every_nix() {
    let results = with_each(|name, place| {
        place.flake(CHECKS);
        let plan = place.run(&["plan", "--json"]).exits(6).json();
        assert_eq!(plan["derivations"], 4, "{name}: the library and three cells");
        let done = place.run(&["check", "--json"]).exits(6).says(&["eval-error", "not today", "1 is not 2"]);
        let first = done.json();
        let state = |report: &Value, which: &str| cell(report, which)["state"].as_str().unwrap().to_owned();
        assert_eq!([state(&first, "good"), state(&first, "bad")], ["passed", "failed"], "{name}");
        assert_eq!([state(&first, "refused"), state(&first, "thrower")], ["passed", "eval-error"], "{name}");
        let reason = cell(&first, "thrower")["reason"].as_str().unwrap();
        assert!(reason.starts_with("flake.nix:") && reason.ends_with("not today"), "{name}: {reason}");
        let reason = cell(&first, "bad")["reason"].as_str().unwrap();
        assert!(reason.contains("exit code 1"), "{name}: {reason}");
        let again = place.run(&["check", "--json"]).exits(6).json();
        assert_eq!([state(&again, "good"), state(&again, "bad")], ["reused", "failed"], "{name}");
        assert_eq!(cell(&again, "good")["attempt"], cell(&first, "good")["attempt"], "{name}");
        let rebuilt = place.run(&["check", "--json", "--rebuild", "--only", "good"]);
        assert_eq!(state(&rebuilt.json(), "good"), "passed", "{name}");
        assert_eq!(place.run(&["log", "bad"]).exits(0).out, "a word before the end\n", "{name}");
        place.run(&["show", "bad"]).exits(0).prints(&["✗ s breaks", "1 is not 2"]);
        essence(&first)
    });
    assert_all_equal(&results);
}

#[test]
fn the_hello_example_is_the_same_with_every_nix() {
    let results = with_each(|name, place| {
        let hello = place.hello();
        let run = |args: &[&str]| place.finish(place.croft(args).current_dir(&hello)).exits(0);
        let plan = run(&["plan", "--json"]).json();
        let report = run(&["check", "--json"]).json();
        assert_eq!(report["summary"]["states"], json!({"passed": 5, "excluded": 1}), "{name}");
        assert_eq!(report["summary"]["tests"]["passed"], 15, "{name}");
        for english in ["english-world", "english-farm-1_0"] {
            assert_eq!(cell(&plan, english)["key"], cell(&report, english)["key"], "{name}");
        }
        let again = run(&["check", "--json"]).json();
        assert_eq!(again["summary"]["states"], json!({"reused": 5, "excluded": 1}), "{name}");
        assert_eq!(again["summary"]["tests"]["passed"], 15, "{name}: a reused cell has its tests");
        assert!(run(&["log", "latin-world"]).out.starts_with("Ave, world!\n"), "{name}");
        run(&["show", "is_polite"]).prints(&["french-world", "✓"]);
        essence(&report)
    });
    assert_all_equal(&results);
}

#[test]
fn broken_flakes_are_named_alike_by_every_nix() {
    with_each(|name, place| {
        let (code, words) = (6, ["flake.nix:2", "syntax error"]);
        place.write("flake.nix", "{\n  outputs = { self }: { checks = ; };\n}\n");
        place.run(&["check"]).exits(code).says(&words);
        place.write("flake.nix", "{ outputs = { self }: { }; }");
        place.run(&["check"]).exits(6).says(&["has no checks"]);
        std::fs::remove_file(place.work().join("flake.nix")).unwrap();
        place.run(&["check"]).exits(2).says(&["is no flake"]);
        place.flake("{ a = cell \"a\" { } ok; b = let x = x; in x; }");
        let report = place.run(&["check", "--json"]).exits(6).json();
        assert!(cell(&report, "b")["reason"].as_str().unwrap().contains("infinite recursion"), "{name}");
        let doctor = place.run(&["doctor"]).exits(0);
        assert!(doctor.out.contains("✓ sandbox") && doctor.out.contains("✓ nix"), "{name}: {}", doctor.out);
        // The folder is named for the version, so this is the Nix that is meant.
        if name != PATH {
            assert!(doctor.out.contains(&format!("daemon {name},")), "{name}: {}", doctor.out);
        }
    });
}

#[test]
fn an_unlocked_input_is_refused_by_every_nix() {
    with_each(|_, place| {
        place.write("other/flake.nix", "{ outputs = { self }: { }; }");
        let url = place.work().join("other");
        let text = "{ inputs.other.url = \"path:URL\"; outputs = { self, other }: { checks = { }; }; }";
        place.write("main/flake.nix", &text.replace("URL", url.to_str().unwrap()));
        place.run(&["check", "main"]).exits(6).says(&["is not locked", "nix flake lock"]);
        assert!(!place.work().join("main/flake.lock").exists());
    });
}
