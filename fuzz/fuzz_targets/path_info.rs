//! Fuzzes `croft::nix::fuzzing::path_info`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::path_info(bytes));
