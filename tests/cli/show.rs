//! `croft show`, `croft log` and `croft status`: what is on record, and that it outlives the run.

use serde_json::json;

use super::support::{Place, cell};

const CHECKS: &str = r#"{
  good = cell "good" { size = "small"; } ok;
  bad = cell "bad" { size = "big"; } ''
    n=0
    while test $n -lt 50; do n=$((n + 1)); echo "line $n"; done
    printf 'colour \033[31mred\033[0m bell \007 title \033]0;owned\007 end\n'
    echo '@croft {"v":1,"event":"test","suite":"accounts","name":"test_login","status":"passed","ms":3}'
    echo '@croft {"v":1,"event":"test","suite":"accounts","name":"test_logout","status":"failed","ms":4,"message":"still there"}'
    exit 7
  '';
}"#;

/// A place where a run is on record, and its report.
fn recorded() -> (Place, serde_json::Value) {
    let place = Place::new();
    place.flake(CHECKS);
    let report = place.run(&["check", "--json"]).exits(1).json();
    (place, report)
}

#[test]
fn a_cell_is_shown_with_its_key_attempt_and_tests() {
    let (place, report) = recorded();
    let key = cell(&report, "bad")["key"].as_str().unwrap();
    let done = place.run(&["show", "bad"]).exits(0);
    let done = done.prints(&["✗ failed", "size=big", "x86_64-linux", key, "exit code 7", "still there"]);
    assert!(
        done.out.contains("test_logout") && !done.out.contains("test_login"),
        "failures alone:\n{}",
        done.out
    );
    place
        .run(&["show", "bad", "--all"])
        .exits(0)
        .prints(&["✓ accounts test_login", "✗ accounts test_logout"]);
    let document = place.run(&["show", "bad", "--json"]).exits(0).json();
    assert_eq!((&document["v"], &document["cells"][0]["name"]), (&json!(1), &json!("bad")));
    assert_eq!(document["attempts"][0]["outcome"]["outcome"], "failed");
    assert_eq!(document["tests"].as_array().unwrap().len(), 2);
    assert_eq!(document["tests"][1]["message"], "still there");
}

#[test]
fn a_key_a_run_and_a_test_are_found() {
    let (place, report) = recorded();
    let text = |name: &str, field: &str| cell(&report, name)[field].as_str().unwrap().to_owned();
    let by_key = place.run(&["show", &text("good", "key")]).exits(0);
    by_key.prints(&["good", "✓ passed", &text("good", "attempt")]);
    let run = report["run"].as_str().unwrap();
    place.run(&["show", run]).exits(0).prints(&["good", "bad", "2 cells: 1 passed, 1 failed"]);
    let cells = place.run(&["show", run, "--json"]).exits(0).json();
    assert_eq!(cells["cells"].as_array().unwrap().len(), 2);
    place.run(&["show", "logout"]).exits(0).prints(&["bad", "✗ accounts test_logout", "still there"]);
    let found = place.run(&["show", "test_lo", "--json"]).exits(0).json();
    assert_eq!(found["found"].as_array().unwrap().len(), 2);
}

#[test]
fn a_cell_shows_its_past() {
    let (place, _) = recorded();
    place.run(&["check", "--retry-failed"]).exits(1);
    let document = place.run(&["show", "bad", "--json"]).exits(0).json();
    assert_eq!(document["cells"].as_array().unwrap().len(), 2);
    place.run(&["show", "bad"]).exits(0).prints(&["earlier    ✗"]);
}

#[test]
fn the_log_of_a_failed_build_survives_without_report_lines() {
    let (place, report) = recorded();
    let done = place.run(&["log", "bad"]).exits(0);
    assert!(done.out.starts_with("line 1\nline 2\n"), "{}", done.out);
    assert!(!done.out.contains("@croft") && !done.out.contains('\u{1b}') && !done.out.contains('\u{7}'));
    assert!(done.out.contains("colour red bell") && !done.out.contains("owned"), "{}", done.out);
    let tail = place.run(&["log", "bad", "--tail", "2"]).exits(0).out;
    assert!(tail.starts_with("line 50\n") && tail.lines().count() == 2, "{tail}");
    assert_eq!(place.run(&["log", "bad", "-n", "0"]).exits(0).out, "");
    let raw = place.run(&["log", "bad", "--raw"]).exits(0).out;
    assert!(raw.contains("\u{1b}[31mred") && raw.contains("\u{1b}]0;owned\u{7}"), "{raw:?}");
    let kept = place.run(&["log", "bad", "--color", "always"]).exits(0).out;
    assert!(kept.contains("31mred") && !kept.contains("]0;owned"), "{kept:?}");
    for what in ["key", "attempt"] {
        let name = cell(&report, "bad")[what].as_str().unwrap();
        assert_eq!(place.run(&["log", name]).exits(0).out, done.out, "by {what}");
    }
    assert_eq!(place.run(&["log", "bad", "--follow"]).exits(0).out, done.out);
}

#[test]
fn status_lists_runs_newest_first() {
    let place = Place::new();
    place.run(&["status"]).exits(0).says(&["no runs yet", "croft check"]);
    place.flake(CHECKS);
    place.run(&["check"]).exits(1);
    place.run(&["check", "--only", "good"]).exits(0);
    let done = place.run(&["status"]).exits(0);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", done.out);
    assert!(lines[0].starts_with("✓ passed") && lines[0].contains("1 reused"), "{}", lines[0]);
    assert!(lines[2].starts_with("✗ failed") && lines[2].contains("1 passed, 1 failed"), "{}", lines[2]);
    let status = place.run(&["status", "--json", "-n", "1"]).exits(0).json();
    let runs = status["runs"].as_array().unwrap();
    assert_eq!(
        (runs.len(), &runs[0]["verdict"], &runs[0]["state"]),
        (1, &json!("passed"), &json!("finished"))
    );
}

#[test]
fn a_closed_pipe_ends_croft_quietly() {
    let (place, _) = recorded();
    let mut shell = std::process::Command::new("sh");
    place.dress(&mut shell);
    let script = format!("{} log bad | head -n 1", env!("CARGO_BIN_EXE_croft"));
    let done = place.finish(shell.args(["-c", &script])).exits(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("line 1\n", ""));
}
