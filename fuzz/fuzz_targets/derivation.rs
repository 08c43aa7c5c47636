//! Fuzzes `croft::nix::fuzzing::derivation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::derivation(bytes));
