//! Fuzzes `croft::nix::fuzzing::conversation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| croft::nix::fuzzing::conversation(bytes));
