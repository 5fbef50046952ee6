//! ext4 on a loop device, in a mount namespace of the test's own.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::fuse::{FILE, Fuse};
use crate::medium::{BLOCK, Medium};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A mount namespace for this thread and those that it starts, with a folder in memory. All that is
/// mounted there goes with the last of these threads.
pub struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    pub fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("ground"), folder.path(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
        Ground { folder }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another boot, for whoever asks from now on.
    pub fn reboot(&self) {
        let id = self.at("boot_id");
        fs::write(&id, "00000000-0000-0000-0000-000000000001\n").unwrap();
        mount(Some(&id), BOOT_ID, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    /// An empty ext4, as it is on a disk of so many MiB.
    pub fn ext4(&self, size: usize) -> Vec<u8> {
        let path = self.at("empty");
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let size = format!("{size}M");
        let (at, block) = (path.display().to_string(), BLOCK.to_string());
        run("mkfs.ext4", &["-q", "-b", &block, "-J", "size=4", "-E", options, &at, &size]);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        bytes
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = umount2(BOOT_ID, MntFlags::MNT_DETACH);
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}

pub fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
}

/// A file system that is mounted from a loop device, which goes with it.
pub struct Mounted {
    pub at: PathBuf,
}

impl Mounted {
    pub fn new(file: &Path, at: &Path, options: &str) -> Mounted {
        fs::create_dir_all(at).unwrap();
        let (from, to) = (file.display().to_string(), at.display().to_string());
        run("mount", &["-t", "ext4", "-o", &format!("loop,{options}"), &from, &to]);
        Mounted { at: at.to_owned() }
    }

    /// Waits until all is written.
    pub fn unmount(self) {
        umount2(&self.at, MntFlags::empty()).unwrap();
        std::mem::forget(self);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

/// What is on a disk, mounted from a file in memory of its own.
pub fn mounted_copy(ground: &Ground, bytes: &[u8]) -> Mounted {
    let path = ground.at("copy");
    let _ = fs::remove_file(&path);
    let file = fs::File::create(&path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, (number * BLOCK) as u64).unwrap();
        }
    }
    Mounted::new(&path, &ground.at("after"), "errors=remount-ro")
}

/// A disk whose medium is the test's, with ext4 mounted from it.
pub struct Disk {
    medium: Arc<Mutex<Medium>>,
    // In the order of their end.
    mounted: Option<Mounted>,
    _fuse: Fuse,
    at: PathBuf,
    file: PathBuf,
}

impl Disk {
    pub fn new(ground: &Ground, bytes: Vec<u8>) -> Disk {
        let medium = Arc::new(Mutex::new(Medium::new(bytes)));
        let below = ground.at("below");
        fs::create_dir_all(&below).unwrap();
        let fuse = Fuse::mount(&below, Arc::clone(&medium));
        let (at, file) = (ground.at("disk"), below.join(FILE));
        let mut disk = Disk { medium, mounted: None, _fuse: fuse, at, file };
        disk.mount();
        disk
    }

    pub fn mount(&mut self) {
        self.mounted = Some(Mounted::new(&self.file, &self.at, "errors=remount-ro"));
    }

    pub fn unmount(&mut self) {
        self.mounted.take().unwrap().unmount();
    }

    pub fn at(&self) -> &Path {
        &self.at
    }

    pub fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().unwrap()
    }
}
