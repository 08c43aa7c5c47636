//! Failures stand until they expire or are tried again; a key that passes after it failed is a proved flake.

use crate::support::{Farm, wait_until};

/// Passes if heads are up.
const COIN: &str = r#"coin = cell "coin" ''test -e "$outside/heads" || { echo tails; exit 1; }; succeed'';"#;

#[test]
fn a_failure_stands_and_a_later_pass_of_the_same_key_proves_a_flake() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(COIN);
    for _ in 0..2 {
        let checked = farm.check(&[]);
        assert_eq!((checked.code, checked.state("coin")), (Some(1), "failed"), "{checked:#?}");
        assert_eq!(farm.ran("coin"), 1, "a failure on record is not built again");
    }
    assert_eq!(farm.check(&["--retry-failed"]).code, Some(1));
    assert_eq!(farm.ran("coin"), 2, "unless it is asked for");
    farm.open_gate("heads");
    let checked = farm.check(&["--retry-failed"]);
    assert_eq!((checked.code, checked.state("coin")), (Some(0), "flaky"), "{checked:#?}");
    assert_eq!(farm.outcomes("coin"), ["failed", "failed", "passed"]);
    let shown = farm.croft(&["show", "coin"]).run();
    assert!(shown.stdout.contains("flaky") && shown.stdout.contains("passed and failed"), "{shown:?}");
    let again = farm.check(&[]);
    assert_eq!((again.code, again.state("coin")), (Some(0), "flaky"), "{again:#?}");
    assert_eq!(farm.ran("coin"), 3);
    farm.assert_sound();
}

#[test]
fn a_failure_expires() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(COIN);
    assert_eq!(farm.check(&[]).code, Some(1));
    farm.open_gate("heads");
    assert_eq!(farm.check(&[]).code, Some(1), "it stands for two weeks");
    let flake = farm.flake();
    wait_until("an expired failure", || {
        let done = farm.croft(&["check", &flake]).env("CROFT_RESULTS_FAILURE_TTL", "1s").run();
        done.code == Some(0)
    });
    assert_eq!(farm.ran("coin"), 2);
    assert_eq!(farm.outcomes("coin"), ["failed", "passed"]);
}
