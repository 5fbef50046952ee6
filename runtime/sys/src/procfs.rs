//! procfs, trusted only after a look.
//!
//! What is written to `/proc` decides what a process may do: its labels, its limits, a sysctl. A
//! `/proc` that is another file system, or that has one mounted over the file in question, takes
//! such a write and loses it (CVE-2019-16884), or leads it to another file (CVE-2025-52881).

use crate::in_root::{self, is};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Inode of the root of every procfs: `PROC_ROOT_INO`.
const ROOT_INODE: u64 = 1;

/// Opens the caller's `/proc`, which is seen to be the root of a procfs.
///
/// # Errors
/// `EXDEV` when something else is there.
pub fn open() -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let proc = openat(AT_FDCWD, c"/proc", flags, Mode::empty())?;
    if is_root(proc.as_fd())? { Ok(proc) } else { Err(Errno::EXDEV) }
}

/// Reads a file of the kernel, which says nothing of its length: in as few calls as it takes.
///
/// # Errors
/// What the kernel says.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file below `proc`, a descriptor of [`open`], with nothing mounted on the way to it or
/// over it. `self` and `thread-self` are followed, links to other files are not.
///
/// # Errors
/// `EXDEV` when something is mounted there; else what openat2(2) says.
pub fn open_file(proc: BorrowedFd<'_>, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS;
    let file = in_root::lookup(proc, path, flags, resolve)?;
    if is_inside(file.as_fd())? { Ok(file) } else { Err(Errno::EXDEV) }
}

/// Whether a descriptor is the root directory of a procfs.
///
/// # Errors
/// None that is known.
pub fn is_root(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = fstat(directory)?;
    Ok(is(&stat, SFlag::S_IFDIR) && stat.st_ino == ROOT_INODE && is_inside(directory)?)
}

/// Whether a descriptor lies in a procfs.
///
/// # Errors
/// What fstatfs(2) says.
pub fn is_inside(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fstatfs(file)?.filesystem_type() == PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_procfs_is_opened_through_self() {
        let proc = open().unwrap();
        let file = open_file(proc.as_fd(), c"self/oom_score_adj", OFlag::O_RDONLY).unwrap();
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        assert!(text.trim().parse::<i32>().is_ok(), "{text}");
    }

    #[test]
    fn what_leads_out_of_procfs_is_not_opened() {
        let proc = open().unwrap();
        for path in [c"self/root/etc/hostname", c"../etc/hostname", c"self/exe"] {
            assert!(open_file(proc.as_fd(), path, OFlag::O_RDONLY).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_directory_of_procfs_and_another_file_system_are_not_its_root() {
        for path in ["/proc/sys", "/", "/proc/version"] {
            assert_eq!(is_root(File::open(path).unwrap().as_fd()), Ok(false), "{path}");
        }
    }
}
