//! Builders and daemons that are killed from outside: that says nothing about the derivation.

use crate::support::{Checked, Farm, Process};

/// Waits for ever while fewer than `times` of its builders have begun.
fn victim(times: usize) -> String {
    format!(
        r#"victim = cell "victim" ''
             if [ "$(grep -c victim "$outside/ran")" -lt {times} ]; then wait_for never; fi
             succeed
           '';"#
    )
}

/// Kills the builder of the victim once it has begun for the `time`th time.
fn kill_builder(farm: &Farm, time: usize) {
    farm.wait_for_runs("victim", time);
    let builders = farm.builders("victim");
    assert!(!builders.is_empty(), "a builder that waits can be found");
    builders.iter().for_each(Process::kill);
}

#[test]
fn a_builder_that_is_killed_is_tried_again() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(&victim(2));
    let flake = farm.flake();
    let croft = farm.croft(&["check", "--json", &flake]).start();
    kill_builder(&farm, 1);
    let checked = Checked::of(croft.wait());
    assert_eq!((checked.code, checked.state("victim")), (Some(0), "passed"), "{checked:#?}");
    assert_eq!(checked.cell("victim")["attempts"], 2);
    assert_eq!(farm.outcomes("victim"), ["infra", "passed"]);
    farm.assert_sound();
}

#[test]
fn a_builder_that_is_always_killed_is_no_failure() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(&victim(4));
    let flake = farm.flake();
    let croft = farm.croft(&["check", "--json", &flake]).start();
    (1..=3).for_each(|time| kill_builder(&farm, time));
    let checked = Checked::of(croft.wait());
    assert_eq!((checked.code, checked.state("victim")), (Some(3), "infra"), "{checked:#?}");
    assert!(checked.reason("victim").contains("signal 9"), "{checked:#?}");
    assert_eq!(farm.outcomes("victim"), ["infra"; 3]);
    let next = farm.check(&[]);
    assert_eq!((next.code, next.state("victim")), (Some(0), "passed"), "no failure stands: {next:#?}");
    farm.assert_sound();
}

#[test]
fn a_daemon_that_dies_in_the_middle_is_no_failure() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(&victim(2));
    let flake = farm.flake();
    let croft = farm.croft(&["check", "--json", &flake]).start();
    farm.wait_for_runs("victim", 1);
    let is_daemon = |process: &Process| process.words().contains("nix-daemon --stdio");
    let daemons: Vec<Process> = farm.processes().into_iter().filter(is_daemon).collect();
    assert!(!daemons.is_empty(), "croft has daemons of its own");
    daemons.iter().for_each(Process::kill);
    let checked = Checked::of(croft.wait());
    assert_eq!((checked.code, checked.state("victim")), (Some(0), "passed"), "{checked:#?}");
    assert_eq!(farm.outcomes("victim"), ["infra", "passed"]);
    farm.assert_sound();
    // Nix leaves the builder of a killed daemon behind; it can do no harm, as the second one has made its own output.
}
