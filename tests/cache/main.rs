//! The binary cache against real Nix, a real S3-compatible server, kills and attackers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

#[path = "../moto/mod.rs"]
mod moto;
#[path = "../nix_support/mod.rs"]
mod nix_support;

mod attacks;
mod cli;
mod faults;
mod nix;
mod s3;
mod support;
mod writers;
