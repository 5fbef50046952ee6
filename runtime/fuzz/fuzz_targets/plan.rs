#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rrun_runtime::fuzzing::plan(bytes));
