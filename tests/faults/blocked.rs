//! Dependencies that fail, and runs that stop at the first failure.

use crate::support::{Checked, Farm};

#[test]
fn a_dependency_that_fails_blocks_its_cells_and_no_others() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(
        r#"one = cellWith "one" { need = cell "broken-library" "echo no; exit 1"; } "succeed";
           two = cellWith "two" { need = cellWith "middle" { need = cell "broken-library" "echo no; exit 1"; } "succeed"; } "succeed";
           free = cell "free" "succeed";"#,
    );
    for reason in ["failed", "failed since"] {
        let checked = farm.check(&[]);
        assert_eq!(checked.code, Some(1), "{checked:#?}");
        for cell in ["one", "two"] {
            assert_eq!(checked.state(cell), "blocked", "{checked:#?}");
            assert!(checked.reason(cell).starts_with(&format!("broken-library {reason}")), "{checked:#?}");
        }
        assert!(["passed", "reused"].contains(&checked.state("free")), "{checked:#?}");
    }
    let log = farm.croft(&["log", "two"]).run();
    assert_eq!(log.stdout, "no\n", "a blocked cell shows the log of what blocks it: {log:?}");
    assert_eq!((farm.ran("broken-library"), farm.ran("middle"), farm.ran("one")), (1, 0, 0));
    farm.assert_sound();
}

#[test]
fn fail_fast_ends_what_runs_and_begins_nothing_more() {
    let Some(farm) = Farm::new() else { return };
    farm.write_flake(
        r#"bad = cell "bad" "wait_for slow-began; exit 1";
           slow = cell "slow" ''echo > "$outside/slow-began"; wait_for never'';
           after = cellWith "after" { need = cell "slow" ''echo > "$outside/slow-began"; wait_for never''; } "succeed";"#,
    );
    let flake = farm.flake();
    let croft = farm.croft(&["check", "--json", "--fail-fast", &flake]).env("CROFT_BUILD_SLOTS", "2");
    let checked = Checked::of(croft.run());
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    assert_eq!(checked.state("bad"), "failed", "{checked:#?}");
    assert_eq!(checked.state("slow"), "cancelled", "{checked:#?}");
    assert_eq!(checked.state("after"), "cancelled", "{checked:#?}");
    assert_eq!(farm.ran("after"), 0);
    farm.wait_until_still();
    farm.assert_sound();
}
