//! One name in one open directory, and what can be done with it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::stat::{fstatat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

/// A single name in a directory that is held open. No call here follows a symlink.
#[derive(Debug)]
pub struct Place {
    dir: Arc<OwnedFd>,
    name: CString,
}

impl Place {
    pub(super) fn new(dir: Arc<OwnedFd>, name: &[u8]) -> io::Result<Place> {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err(Errno::EINVAL.into());
        }
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        Ok(Place { dir, name })
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The name.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// What is there, not followed; `None` if nothing is.
    pub fn stat(&self) -> io::Result<Option<FileStat>> {
        match fstatat(self.dir(), self.name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a file that must not exist, open for writing. `mode` passes the umask.
    pub fn create_file(&self, mode: Mode) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(self.open(flags, mode)?.into())
    }

    /// Opens what is there; a symlink is not followed.
    pub fn open(&self, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(self.dir(), self.name(), flags, mode)?)
    }

    /// Makes a directory. `mode` passes the umask.
    pub fn mkdir(&self, mode: Mode) -> io::Result<()> {
        Ok(mkdirat(self.dir(), self.name(), mode)?)
    }

    /// Makes a symlink.
    pub fn symlink(&self, target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, self.dir(), self.name())?)
    }

    /// The target of the symlink that stands here; `None` if none does.
    pub fn read_link(&self) -> io::Result<Option<Vec<u8>>> {
        match readlinkat(self.dir(), self.name()) {
            Ok(target) => Ok(Some(target.into_vec())),
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes this a further name of `existing`.
    pub fn link_from(&self, existing: &Place) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(linkat(existing.dir(), existing.name(), self.dir(), self.name(), flags)?)
    }

    /// Makes a device, fifo or socket. `mode` passes the umask.
    pub fn mknod(&self, kind: SFlag, mode: Mode, device: u64) -> io::Result<()> {
        Ok(mknodat(self.dir(), self.name(), kind, mode, device)?)
    }

    /// Sets the owner.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        Ok(fchownat(self.dir(), self.name(), Some(uid), Some(gid), flags)?)
    }

    /// Sets the permission bits. A symlink, which has none, fails with `EOPNOTSUPP`.
    pub fn set_mode(&self, mode: Mode) -> io::Result<()> {
        Ok(crate::mode::set_at(self.dir(), self.name(), mode)?)
    }

    /// Sets access and modification time.
    pub fn set_times(&self, accessed: &TimeSpec, modified: &TimeSpec) -> io::Result<()> {
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(self.dir(), self.name(), accessed, modified, flags)?)
    }

    /// Sets an extended attribute, whatever kind of object this is.
    pub fn set_xattr(&self, name: &CStr, value: &[u8]) -> io::Result<()> {
        // lsetxattr has no `at` form before 6.13; the magic link leads to the held directory,
        // and a single name below it is not followed.
        let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name.as_bytes());
        crate::xattr::set_path(path.as_slice(), name, value)
    }

    /// Removes a name that is not a directory.
    pub fn unlink(&self) -> io::Result<()> {
        Ok(unlinkat(self.dir(), self.name(), UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes an object and, if it is a directory, everything below it.
    pub fn remove_tree(&self) -> io::Result<()> {
        Ok(crate::tree::remove_at(self.dir(), self.name())?)
    }

    /// Whether a directory stands here.
    pub fn is_dir(&self) -> io::Result<bool> {
        let kind = self.stat()?.map(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT);
        Ok(kind == Some(SFlag::S_IFDIR))
    }
}
