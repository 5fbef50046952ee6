#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| rrun_runtime::fuzzing::mountinfo(text));
