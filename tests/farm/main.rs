//! Whole farms: croft as users run it, with other machines behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::allow_attributes,
    reason = "a test may panic and speak"
)]

#[path = "../support/hosts.rs"]
mod hosts;
mod machines;
mod pools;
#[path = "../support/mod.rs"]
mod support;
mod world;
