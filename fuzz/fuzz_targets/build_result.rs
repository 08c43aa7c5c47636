//! Fuzzes `croft::nix::fuzzing::build_result`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::build_result(bytes));
