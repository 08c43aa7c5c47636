//! Builds that take too long, are silent for too long or write too much: verdicts of their own, with their last words.

use std::fmt::Write;

use crate::support::{Checked, Croft, Farm};

fn check(farm: &Farm, checks: &str, limit: impl FnOnce(Croft<'_>) -> Croft<'_>) -> Checked {
    farm.write_flake(checks);
    let flake = farm.flake();
    let checked = Checked::of(limit(farm.croft(&["check", "--json", &flake])).run());
    farm.wait_until_still();
    farm.assert_sound();
    checked
}

fn last_line(farm: &Farm, cell: &str) -> String {
    let done = farm.croft(&["log", cell]).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_build_over_its_time_is_a_timeout() {
    let Some(farm) = Farm::new() else { return };
    let checks = r#"
      slow = cell "slow" "echo last words; wait_for never";
      quick = cellWith "quick" { croft.timeout = 60; } "sleep 1.5; succeed";
    "#;
    let checked = check(&farm, checks, |croft| croft.env("CROFT_BUILD_TIMEOUT", "1s"));
    assert_eq!((checked.code, checked.state("slow")), (Some(1), "timeout"), "{checked:#?}");
    assert_eq!(checked.state("quick"), "passed", "its own limit is longer: {checked:#?}");
    assert!(checked.reason("slow").contains("longer than 1 s"), "{checked:#?}");
    assert_eq!(last_line(&farm, "slow"), "last words");
    assert_eq!(farm.outcomes("slow"), ["timeout"], "it is not tried again");
}

#[test]
fn a_cell_sets_its_own_timeout() {
    let Some(farm) = Farm::new() else { return };
    let checks = r#"slow = cellWith "slow" { croft.timeout = 1; } "echo last words; wait_for never";"#;
    let checked = check(&farm, checks, |croft| croft);
    assert_eq!((checked.code, checked.state("slow")), (Some(1), "timeout"), "{checked:#?}");
    assert_eq!(last_line(&farm, "slow"), "last words");
}

#[test]
fn a_build_that_falls_silent_is_a_timeout() {
    let Some(farm) = Farm::new() else { return };
    let mut checks = String::new();
    writeln!(checks, r#"still = cell "still" "echo last words; wait_for never";"#).unwrap();
    writeln!(checks, r#"chatty = cell "chatty" "for i in 1 2 3 4 5; do echo $i; sleep 0.4; done; succeed";"#)
        .unwrap();
    let checked = check(&farm, &checks, |croft| croft.env("CROFT_BUILD_MAX_SILENT", "1s"));
    assert_eq!((checked.code, checked.state("still")), (Some(1), "timeout"), "{checked:#?}");
    assert!(checked.reason("still").contains("wrote nothing"), "{checked:#?}");
    assert_eq!(checked.state("chatty"), "passed", "{checked:#?}");
    assert_eq!(last_line(&farm, "still"), "last words");
}

#[test]
fn a_build_that_writes_too_much_is_stopped() {
    let Some(farm) = Farm::new() else { return };
    let checks = r#"noisy = cell "noisy" ''
      yes "a line of sixty-three letters and blanks, which is not too long." | head -c 3000000
      echo last words
      wait_for never
    '';"#;
    let checked = check(&farm, checks, |croft| croft.env("CROFT_BUILD_MAX_LOG", "1"));
    assert_eq!((checked.code, checked.state("noisy")), (Some(1), "log-limit"), "{checked:#?}");
    assert!(last_line(&farm, "noisy").ends_with("too long.") || last_line(&farm, "noisy") == "last words");
    assert_eq!(farm.outcomes("noisy"), ["log-limit"]);
}
