#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rrun_images::fuzzing::document(bytes));
