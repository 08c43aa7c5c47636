//! Builders over ssh, against real machines in namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::allow_attributes,
    reason = "a test may panic and speak"
)]

mod build;
mod faults;
mod health;
#[path = "../support/hosts.rs"]
mod hosts;
#[path = "../support/hub.rs"]
mod hub;
mod lab;
mod stalls;
