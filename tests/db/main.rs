//! The database against real files, real disks and real processes.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod check;
mod facts;
mod files;
mod processes;
mod speed;
mod world;
