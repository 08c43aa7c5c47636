//! The providers of machines, against what they really start.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]
#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]

mod exec;
mod fake;
mod guest;
#[path = "../support/guest.rs"]
mod image;
mod qemu;
mod support;
