//! The command line on a real Nix: the `croft` program itself, with a state directory and a store for each test.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod check;
mod django;
mod machine;
mod plan;
mod relock;
mod show;
mod support;
mod terminal;
