//! Evaluation with every Nix of this machine: good and broken flakes, and what can go wrong around them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends by a panic and says what it skips"
)]

mod faults;
mod flakes;
mod support;
