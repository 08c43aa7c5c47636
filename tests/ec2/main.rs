//! The provider `ec2` through the real SDK, against a fake EC2 of its own that can misbehave, and, for what both can
//! do, against the independent one of moto.

#![cfg(feature = "ec2")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and speak")]

#[path = "../bridge/mod.rs"]
mod bridge;
#[path = "../fake_ec2/mod.rs"]
mod fake_ec2;
#[path = "../moto/mod.rs"]
mod moto;

mod bridged;
mod docs;
mod dormancy;
mod errors;
mod launch;
mod lax;
mod list;
mod secrets;
mod support;
