#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polyarch_fuzzing::run("settings", bytes));
