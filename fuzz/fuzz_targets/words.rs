//! Fuzzes `croft::nix::fuzzing::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::words(bytes));
