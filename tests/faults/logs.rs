//! Logs that are too long to keep, and logs that are read while they are written.

use serde_json::Value;

use crate::support::{Farm, wait_until};

/// The lines of the noisy build, of a hundred bytes each.
const LINES: usize = 200_000;

#[test]
fn of_a_noisy_log_the_head_and_the_tail_are_kept() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(&format!(
        r#"noisy = cell "noisy" ''
             awk 'BEGIN {{ for (i = 1; i <= {LINES}; i++) printf "line %07d %86s\n", i, "x" }}'
             succeed
           '';"#
    ));
    let flake = farm.flake();
    let done = farm.croft(&["check", &flake]).env("CROFT_BUILD_KEEP_LOG", "1").run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let log = farm.croft(&["log", "noisy"]).run();
    assert_eq!(log.code, Some(0), "{}", log.stderr);
    let lines: Vec<&str> = log.stdout.lines().collect();
    assert!(log.stdout.len() < 1_500_000, "{} bytes are more than was to be kept", log.stdout.len());
    assert!(log.stdout.len() > 500_000, "{} bytes are less than was to be kept", log.stdout.len());
    assert!(lines[0].starts_with("line 0000001 "), "{}", lines[0]);
    assert!(
        lines.last().is_some_and(|line| line.starts_with(&format!("line {LINES:07} "))),
        "{:?}",
        lines.last()
    );
    let gap: Vec<&&str> = lines.iter().filter(|line| !line.starts_with("line ")).collect();
    assert!(gap.len() == 1 && gap[0].contains("left out"), "the gap is told once: {gap:?}");
    let tail = farm.croft(&["log", "noisy", "--tail", "2"]).run();
    assert_eq!(tail.stdout.lines().count(), 2);
}

#[test]
fn a_running_build_can_be_followed() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(r#"talker = cell "talker" "echo first; wait_for second; echo second; wait_for end; echo end; succeed";"#);
    let flake = farm.flake();
    let croft = farm.croft(&["check", "--jsonl", &flake]).start();
    farm.wait_for_runs("talker", 1);
    let attempt = || {
        let events = croft.stdout();
        let mut started = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let started = started.rfind(|event| event["event"] == "build-started");
        started.and_then(|event| Some(event["attempt"].as_str()?.to_owned()))
    };
    wait_until("the beginning of the attempt", || attempt().is_some());
    let attempt = attempt().unwrap();
    let follower = farm.croft(&["log", "--follow", &attempt]).start();
    let by_name = farm.croft(&["log", "--follow", "talker"]).start();
    for word in ["second", "end"] {
        let before = if word == "second" { "first\n" } else { "first\nsecond\n" };
        wait_until("the lines so far", || follower.stdout() == before && by_name.stdout() == before);
        farm.open_gate(word);
    }
    assert_eq!(croft.wait().code, Some(0));
    for follower in [follower, by_name] {
        let done = follower.wait();
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "first\nsecond\nend\n"), "{}", done.stderr);
    }
}
