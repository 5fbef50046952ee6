//! The shim's own log: a file in the pod's run folder, for what nobody is connected to hear.

use std::io::Write;
use std::path::Path;

/// Appends a line. Errors have nowhere to go.
pub fn note(run_dir: &Path, words: &str) {
    if let Ok(mut file) = rrun_sys::record::append(&run_dir.join("shim.log"), 0o666) {
        let _ = file.write_all(format!("{words}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_is_written_to_no_link_and_waits_at_no_fifo() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "as it was").unwrap();
        std::os::unix::fs::symlink(at("precious"), at("shim.log")).unwrap();
        note(folder.path(), "lost");
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "as it was");
        fs::remove_file(at("shim.log")).unwrap();
        nix::unistd::mkfifo(&at("shim.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        note(folder.path(), "lost");
        fs::remove_file(at("shim.log")).unwrap();
        note(folder.path(), "kept");
        assert_eq!(fs::read_to_string(at("shim.log")).unwrap(), "kept\n");
    }
}
