//! Whole farms: croft as users run it, with other machines behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::allow_attributes,
    reason = "a test may panic and speak"
)]

#[cfg(feature = "ec2")]
#[path = "../bridge/mod.rs"]
mod bridge;
#[cfg(feature = "ec2")]
mod cloud;
mod endings;
#[cfg(feature = "ec2")]
#[path = "../fake_ec2/mod.rs"]
mod fake_ec2;
#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part of this")]
#[path = "../support/guest.rs"]
mod guest;
#[path = "../support/hosts.rs"]
mod hosts;
mod machines;
#[cfg(feature = "ec2")]
#[path = "../moto/mod.rs"]
mod moto;
mod pools;
#[path = "../support/mod.rs"]
mod support;
mod vms;
mod world;
