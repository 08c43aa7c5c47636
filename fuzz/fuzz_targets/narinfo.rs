//! Fuzzes `croft::nix::fuzzing::narinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::narinfo(bytes));
