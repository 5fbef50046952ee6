//! Path lookup that cannot leave a root: the one primitive for paths that an image, a layer or a
//! container chose.
//!
//! Two rules of lookup, both by openat2(2), both with magic links (`/proc/self/exe`) refused:
//!
//! - [`Rule::InRoot`]: as a process sees it that was chrooted there. An absolute symlink and a
//!   `..` at the top mean the root. For the file system of a container, and for a layer that is
//!   unpacked.
//! - [`Rule::Beneath`]: nothing may point out of the root, not even for one step; an absolute
//!   symlink or one that climbs too far fails with `EXDEV`. For folders in which no such link has
//!   a meaning.
//!
//! Both are safe against a file system that changes meanwhile, which a lookup by hand, component
//! by component, is only with great care. That is why there is no fallback: openat2 is in every
//! kernel since 5.6 (March 2020), older ones fail with `ENOSYS`, and a sandbox that denies it
//! with `EPERM` must allow it.
//!
//! Every object is then made or changed by its single name in an open parent directory
//! ([`Place`]), so no lookup happens twice with different results.

mod path;
mod place;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::in_root::lookup_or_create;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag};

pub use path::RelPath;
pub use place::Place;

/// How symlinks on the way are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// As in a chroot: absolute symlinks and `..` at the top mean the root.
    InRoot,
    /// A link that leads out of the root is an error (`EXDEV`).
    Beneath,
}

/// An open directory under which paths are looked up, and nothing else.
#[derive(Debug)]
pub struct RootDir {
    fd: Arc<OwnedFd>,
    rule: Rule,
}

impl RootDir {
    /// Opens the directory `path`, which is the caller's own and may contain symlinks.
    pub fn open(path: &Path, rule: Rule) -> io::Result<RootDir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(RootDir::new(open(path, flags, Mode::empty())?, rule))
    }

    /// Takes an open directory as root.
    pub fn new(fd: OwnedFd, rule: Rule) -> RootDir {
        RootDir { fd: Arc::new(fd), rule }
    }

    /// The directory itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens an object; the last name is followed if it is a symlink, unless `flags` hold
    /// `O_NOFOLLOW`. `mode` is for `O_CREAT`.
    pub fn open_at(&self, path: &RelPath, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
        self.resolve(path, flags, mode, 0)
    }

    fn resolve(&self, path: &RelPath, flags: OFlag, mode: Mode, more: u64) -> io::Result<OwnedFd> {
        let text: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
        let scope = match self.rule {
            Rule::InRoot => libc::RESOLVE_IN_ROOT,
            Rule::Beneath => libc::RESOLVE_BENEATH,
        };
        let resolve = scope | libc::RESOLVE_NO_MAGICLINKS | more;
        let opened =
            text.with_nix_path(|path| lookup_or_create(self.fd(), path, flags, mode, resolve))?;
        Ok(opened?)
    }

    /// A handle (`O_PATH`) on whatever the path leads to.
    pub fn lookup(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH, Mode::empty())
    }

    /// An open directory below this one, as a root of its own with the same rule.
    pub fn dir(&self, path: &RelPath) -> io::Result<RootDir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        Ok(RootDir { fd: Arc::new(self.open_at(path, flags, Mode::empty())?), rule: self.rule })
    }

    /// The same, if no name of the path is a symlink: the first one that is fails with `ELOOP`.
    pub fn dir_without_links(&self, path: &RelPath) -> io::Result<RootDir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let fd = self.resolve(path, flags, Mode::empty(), libc::RESOLVE_NO_SYMLINKS)?;
        Ok(RootDir { fd: Arc::new(fd), rule: self.rule })
    }

    /// The place of `path`: its parent directory, looked up and open, and its last name. The
    /// object need not exist. The root itself has no place (`InvalidInput`).
    pub fn place(&self, path: &RelPath) -> io::Result<Place> {
        let (parent, name) = path.split().ok_or(Errno::EINVAL)?;
        let fd = if parent.is_root() { Arc::clone(&self.fd) } else { self.dir(&parent)?.fd };
        Place::new(fd, name)
    }

    /// The place of `name` directly in this directory.
    pub fn child(&self, name: &[u8]) -> io::Result<Place> {
        Place::new(Arc::clone(&self.fd), name)
    }

    /// Makes every missing directory of `path` with `mode`, whatever the umask is, and tells which
    /// ones it made. Its time goes with the length of the path, however deep that is.
    pub fn mkdir_all(&self, path: &RelPath, mode: Mode) -> io::Result<Vec<RelPath>> {
        let ends = path.ends();
        let start = |names: usize| match names.checked_sub(1).and_then(|last| ends.get(last)) {
            Some(end) => RelPath::parse(&path.as_bytes()[..*end]),
            None => Ok(RelPath::default()),
        };
        // So many of its names are there. Below one that is missing all are.
        let (mut there, mut most) = (0, ends.len());
        let mut dir = RootDir { fd: Arc::clone(&self.fd), rule: self.rule };
        while there < most {
            let middle = (there + most).div_ceil(2);
            match self.dir(&start(middle)?) {
                Ok(found) => (there, dir) = (middle, found),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => most = middle - 1,
                Err(e) => return Err(e),
            }
        }
        let mut made = Vec::new();
        for names in there + 1..=ends.len() {
            let path = start(names)?;
            let place = dir.child(path.name())?;
            match place.mkdir(mode) {
                Ok(()) => {
                    place.set_mode(mode)?;
                    made.push(path);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
            dir = dir.dir_without_links(&RelPath::parse(place.name().to_bytes())?)?;
        }
        Ok(made)
    }

    /// Makes a file that must not exist, open for writing.
    pub fn create_file(&self, path: &RelPath, mode: Mode) -> io::Result<std::fs::File> {
        self.place(path)?.create_file(mode)
    }

    /// Makes a symlink with any target; the target is not looked at.
    pub fn symlink(&self, path: &RelPath, target: &[u8]) -> io::Result<()> {
        self.place(path)?.symlink(target)
    }

    /// Makes `path` another name of the object at `existing`, which is not followed.
    pub fn hardlink(&self, path: &RelPath, existing: &RelPath) -> io::Result<()> {
        self.place(path)?.link_from(&self.place(existing)?)
    }

    /// Makes a device, fifo or socket.
    pub fn mknod(&self, path: &RelPath, kind: SFlag, mode: Mode, device: u64) -> io::Result<()> {
        self.place(path)?.mknod(kind, mode, device)
    }

    /// Removes a name that is not a directory.
    pub fn unlink(&self, path: &RelPath) -> io::Result<()> {
        self.place(path)?.unlink()
    }

    /// Removes an object and, if it is a directory, everything below it.
    pub fn remove_tree(&self, path: &RelPath) -> io::Result<()> {
        self.place(path)?.remove_tree()
    }
}

#[cfg(test)]
mod tests;
