//! A small disk of its own, whose every write can be made to wait: ext4, frozen as for a snapshot
//! (fsfreeze(8)).
#![allow(clippy::unwrap_used, reason = "it is part of a test, which may panic")]

use crate::limit;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The disk. Dropped, it goes on, is unmounted, and is gone.
pub struct Disk {
    at: String,
    image: PathBuf,
    prefix: Vec<String>,
}

impl Disk {
    /// Mounts an empty one, which `image` becomes, at a folder that is made where it is missing: in
    /// the mount namespace of commands with this [prefix](crate::sandbox::Sandbox::prefix).
    pub fn mount(at: &Path, image: PathBuf, prefix: Vec<String>) -> Disk {
        let disk = Disk { at: at.display().to_string(), image, prefix };
        let image = disk.image.display().to_string();
        let script = "truncate -s 256M $1 && mkfs.ext4 -q $1 && mkdir -p $2 && mount -o loop $1 $2";
        disk.run(&["sh", "-ec", script, "disk", &image, &disk.at]);
        disk
    }

    /// Every write waits from now on, and cannot even be killed.
    pub fn freeze(&self) {
        self.run(&["fsfreeze", "--freeze", &self.at]);
    }

    /// What waits goes on.
    pub fn go_on(&self) {
        self.run(&["fsfreeze", "--unfreeze", &self.at]);
    }

    fn run(&self, words: &[&str]) {
        let status = limit::status(&mut self.command(words)).unwrap();
        assert!(status.success(), "{words:?}: {status}");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut all = self.prefix.iter().map(String::as_str).chain(words.iter().copied());
        let mut command = Command::new(all.next().unwrap());
        command.args(all);
        command
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let script = "fsfreeze --unfreeze $1 2>/dev/null; umount --lazy $1";
        let _ = self.command(&["sh", "-c", script, "disk", &self.at]).status();
        let _ = std::fs::remove_file(&self.image);
    }
}
