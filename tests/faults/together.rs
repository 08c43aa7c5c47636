//! Several crofts on one state directory: each derivation is built once, whoever dies.

use rustix::process::Signal;

use super::facts;
use crate::support::{Checked, Farm, wait_until};

const CHECKS: &str = r#"
  a = cellWith "a" { need = cell "shared" "sleep 0.2; echo made > $out"; } "test_case passed one; report; succeed";
  b = cellWith "b" { need = cell "shared" "sleep 0.2; echo made > $out"; } "sleep 0.1; test_case failed one; report; exit 1";
  c = cell "c" "sleep 0.1; test_case passed one; report; succeed";
  d = cell "d" "succeed";
"#;

fn at_once(count: usize) {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(CHECKS);
    let flake = farm.flake();
    let running: Vec<_> = (0..count).map(|_| farm.croft(&["check", "--json", &flake]).start()).collect();
    let done: Vec<Checked> = running.into_iter().map(|croft| Checked::of(croft.wait())).collect();
    for checked in &done {
        assert_eq!(checked.code, Some(1), "{checked:#?}");
        for (cell, states) in [("a", ["passed", "reused"]), ("b", ["failed"; 2]), ("c", ["passed", "reused"])]
        {
            assert!(states.contains(&checked.state(cell)), "{checked:#?}");
            assert_eq!(
                checked.cell(cell)["attempt"],
                done[0].cell(cell)["attempt"],
                "all tell of one attempt"
            );
        }
        assert_eq!(checked.report["verdict"], "failed");
        assert_eq!(checked.cell("b")["tests"]["failed"], 1, "{checked:#?}");
    }
    for name in ["shared", "a", "b", "c", "d"] {
        assert_eq!(farm.ran(name), 1, "{name} must be built once");
    }
    let attempts = facts::counts(&farm, "SELECT name, COUNT(*) FROM attempt GROUP BY key");
    assert!(attempts.len() == 5 && attempts.iter().all(|(_, count)| *count == 1), "{attempts:?}");
    farm.assert_sound();
    farm.wait_until_still();
}

#[test]
fn two_checks_at_once_build_everything_once() {
    at_once(2);
}

#[test]
fn four_checks_at_once_build_everything_once() {
    at_once(4);
}

#[test]
fn those_who_wait_for_a_build_take_it_over_when_its_owner_is_killed() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(
        r#"slow = cell "slow" ''
             if [ "$(grep -c slow "$outside/ran")" = 1 ]; then wait_for never; fi
             succeed
           '';"#,
    );
    let flake = farm.flake();
    let owner = farm.croft(&["check", &flake]).start();
    farm.wait_for_runs("slow", 1);
    let waiting: Vec<_> = (0..2).map(|_| farm.croft(&["check", &flake]).start()).collect();
    for croft in &waiting {
        wait_until("a croft that joins", || croft.stderr().contains("joined"));
    }
    owner.signal(Signal::KILL);
    assert_eq!(owner.wait().signal, Some(9));
    for croft in waiting {
        let done = croft.wait();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    assert_eq!(farm.ran("slow"), 2, "one more build for both who waited");
    assert_eq!(farm.outcomes("slow"), ["infra", "passed"]);
    farm.assert_sound();
    farm.wait_until_still();
}
