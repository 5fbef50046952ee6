//! The shim's own log: a file in the pod's run folder, for what nobody is connected to hear.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Appends a line. Errors have nowhere to go.
pub fn note(run_dir: &Path, words: &str) {
    if let Ok(mut file) =
        OpenOptions::new().append(true).create(true).open(run_dir.join("shim.log"))
    {
        let _ = file.write_all(format!("{words}\n").as_bytes());
    }
}
