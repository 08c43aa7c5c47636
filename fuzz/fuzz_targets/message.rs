//! Fuzzes `croft::nix::fuzzing::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::message(bytes));
