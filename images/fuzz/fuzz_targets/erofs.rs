#![no_main]

use std::sync::LazyLock;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("make a folder"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rrun_images::fuzzing::erofs(bytes, FOLDER.path()));
