#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| rrun_images::fuzzing::hosts(text));
