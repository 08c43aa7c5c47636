//! Fuzzes `croft::nix::fuzzing::nar_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::nar_list(bytes));
