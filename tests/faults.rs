//! What goes wrong on real machines, done to the real program on a real Nix: nothing is lost, no verdict is false.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and one that skips says so"
)]

mod support;

mod faults {
    mod adopted;
    mod blocked;
    mod builders;
    mod disk;
    mod facts;
    mod interrupt;
    mod kill;
    mod limits;
    mod logs;
    mod proof;
    mod together;
}
