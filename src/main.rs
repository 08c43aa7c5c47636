//! The `croft` program.

fn main() {}
