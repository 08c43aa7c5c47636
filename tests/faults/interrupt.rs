//! Ctrl-C: the first is a wish that is recorded, the second an order.

use std::time::Duration;

use rustix::process::Signal;

use super::facts;
use crate::support::Farm;

const CHECKS: &str = r#"
  quick = cell "quick" "succeed";
  slow = cellWith "slow" { need = cell "quick" "succeed"; } "wait_for go; succeed";
"#;

fn run_state(farm: &Farm) -> String {
    let status = farm.croft(&["status", "--json", "-n", "1"]).run().json();
    status["runs"][0]["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_interrupt_cancels_builds_and_is_recorded() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(CHECKS);
    let flake = farm.flake();
    let croft = farm.croft(&["check", &flake]).start();
    farm.wait_for_runs("slow", 1);
    assert!(!farm.builders("slow").is_empty(), "the builder can be found");
    croft.signal(Signal::INT);
    let done = croft.wait();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(done.stderr.contains("being cancelled"), "{}", done.stderr);
    farm.wait_until_still();
    assert_eq!(run_state(&farm), "cancelled");
    assert_eq!(farm.outcomes("slow"), ["cancelled"]);
    farm.assert_sound();
    farm.open_gate("go");
    let checked = farm.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(checked.state("slow"), "passed");
    assert_eq!(farm.ran("quick"), 1);
}

#[test]
fn a_second_interrupt_leaves_at_once() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(CHECKS);
    let flake = farm.flake();
    let mut croft = farm.croft(&["check", &flake]).start();
    farm.wait_for_runs("slow", 1);
    // Nothing can be recorded, so that the wish cannot be granted.
    facts::while_locked(&farm, || {
        croft.signal(Signal::INT);
        crate::support::wait_until("the first answer", || croft.stderr().contains("once more"));
        assert!(croft.wait_at_most(Duration::from_millis(500)).is_none(), "it waits for the database");
        croft.signal(Signal::INT);
        assert!(croft.wait_at_most(Duration::from_secs(5)).is_some(), "it left at once");
    });
    assert_eq!(croft.wait().code, Some(130));
    farm.wait_until_still();
    farm.open_gate("go");
    let checked = farm.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(farm.outcomes("slow"), ["infra", "passed"]);
    farm.assert_sound();
}
