//! Paths inside a root for the child of a clone: openat2(2) with `RESOLVE_IN_ROOT`, without
//! allocating.
//!
//! [`crate::root`] is the general primitive; this one works on the stack. Whoever reads a file
//! that an image or a container chose calls [`open_regular`] or [`read_regular`]; whoever writes one,
//! [`open_regular_to_write`].

mod regular;

pub(crate) use regular::check_regular;
pub use regular::{
    open_regular, open_regular_of_host, open_regular_to_write, read_regular, read_regular_of_host,
};

use crate::call::{fresh, syscall};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is made where a path has no end yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A directory, 0755.
    Directory,
    /// An empty file, 0644.
    File,
}

const PATH_MAX: usize = libc::PATH_MAX as usize;
const LINKS_MAX: usize = 40;

/// A lookup that raced with a rename or a mount elsewhere fails with EAGAIN. An attacker can make
/// that happen again and again, so it is tried so many times and not for ever.
const TRIES: usize = 128;

/// openat2(2) with `RESOLVE_*` flags: the one place where a path of somebody else's is looked up.
///
/// # Errors
/// What openat2(2) says.
pub(crate) fn lookup(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlag,
    resolve: u64,
) -> Result<OwnedFd, Errno> {
    lookup_or_create(directory, path, flags, Mode::empty(), resolve)
}

/// As [`lookup`], with the mode that `O_CREAT` takes.
pub(crate) fn lookup_or_create(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlag,
    mode: Mode,
    resolve: u64,
) -> Result<OwnedFd, Errno> {
    let how = [(flags | OFlag::O_CLOEXEC).bits() as u64, u64::from(mode.bits()), resolve];
    let (path, size) = (path.as_ptr(), size_of_val(&how));
    for _ in 0..TRIES {
        // SAFETY: a valid string, and three words as struct open_how has them.
        match unsafe { syscall!(libc::SYS_openat2, directory, path, how.as_ptr(), size) } {
            // SAFETY: just returned by the kernel.
            Ok(fd) => return Ok(unsafe { fresh(fd) }),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EAGAIN)
}

const INSIDE: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;

/// Opens `path` inside `root`: neither `..` nor a symbolic link leads out, magic links are
/// refused.
///
/// # Errors
/// What openat2(2) says.
pub fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    lookup(root, path, flags, INSIDE)
}

/// Opens `path` beneath `root`, or not at all: a `..` or a symbolic link that leads out is an error
/// and not the root, nor is a magic link followed.
///
/// # Errors
/// `EXDEV` for what leads out, `ELOOP` for a magic link, else what openat2(2) says.
pub fn open_beneath(root: BorrowedFd<'_>, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    lookup(root, path, flags, libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS)
}

/// Opens `path` inside `root` as `O_PATH`, making what is missing of it. No part of it may be a
/// symbolic link: where it leads was decided by nobody but the caller, whatever an image has
/// there and whoever exchanges it meanwhile.
///
/// # Errors
/// `ELOOP` where a link is, `EINVAL` for a `..`, else what openat2(2), mkdirat(2) and their like
/// say.
pub fn ensure_real(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf) -> Result<OwnedFd, Errno> {
    let (mut rest, mut name) = (Text::new(), Text::new());
    rest.push(path.to_bytes())?;
    let resolve = INSIDE | libc::RESOLVE_NO_SYMLINKS;
    let mut reached = lookup(root, c".", OFlag::O_PATH, resolve)?;
    while rest.take_component(&mut name)? {
        if name.bytes() == b".." {
            return Err(Errno::EINVAL);
        }
        let next = match lookup(reached.as_fd(), name.as_c_str(), OFlag::O_PATH, resolve) {
            Err(Errno::ENOENT) => {
                let leaf = if rest.is_blank() { leaf } else { Leaf::Directory };
                make(reached.as_fd(), name.as_c_str(), leaf)?;
                lookup(reached.as_fd(), name.as_c_str(), OFlag::O_PATH, resolve)?
            }
            other => other?,
        };
        reached = next;
    }
    Ok(reached)
}

/// Opens `path` inside `root` as `O_PATH`, making what is missing of it. A dangling link is
/// followed and its end made, inside the root.
///
/// # Errors
/// What openat2(2), mkdirat(2) and their like say.
pub fn ensure(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf) -> Result<OwnedFd, Errno> {
    match open(root, path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => Walk::new(path)?.run(root, leaf),
        other => other,
    }
}

/// Whether `path` leads to `directory` or below it inside `root`, through whatever links. What is
/// missing has none. In `directory` are no links and no `..`.
///
/// # Errors
/// What openat2(2) says.
pub fn leads_below(root: BorrowedFd<'_>, path: &CStr, directory: &CStr) -> Result<bool, Errno> {
    let done = Walk::new(path)?.resolve(root, None)?;
    let rest = done.bytes().strip_prefix(directory.to_bytes());
    Ok(rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/')))
}

/// A walk that makes what is missing: `done` holds no links, `rest` is still to go.
struct Walk {
    done: Text,
    rest: Text,
    links: usize,
}

impl Walk {
    fn new(path: &CStr) -> Result<Walk, Errno> {
        let mut walk = Walk { done: Text::new(), rest: Text::new(), links: 0 };
        walk.rest.push(path.to_bytes())?;
        Ok(walk)
    }

    fn run(self, root: BorrowedFd<'_>, leaf: Leaf) -> Result<OwnedFd, Errno> {
        open(root, self.resolve(root, Some(leaf))?.as_c_str(), OFlag::O_PATH)
    }

    /// The path without links. Without a `leaf` nothing is made.
    fn resolve(mut self, root: BorrowedFd<'_>, leaf: Option<Leaf>) -> Result<Text, Errno> {
        let mut name = Text::new();
        while self.rest.take_component(&mut name)? {
            match name.bytes() {
                b"." => continue,
                b".." => self.done.pop_component(),
                _ => self.enter(root, &name, leaf)?,
            }
        }
        Ok(self.done)
    }

    fn enter(
        &mut self,
        root: BorrowedFd<'_>,
        name: &Text,
        leaf: Option<Leaf>,
    ) -> Result<(), Errno> {
        let parent = match open(root, self.done.as_c_str(), OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) if leaf.is_none() => return self.done.push_component(name.bytes()),
            other => other?,
        };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let entry = match open(parent.as_fd(), name.as_c_str(), flags) {
            Err(Errno::ENOENT) => {
                if let Some(leaf) = leaf {
                    let leaf = if self.rest.is_blank() { leaf } else { Leaf::Directory };
                    make(parent.as_fd(), name.as_c_str(), leaf)?;
                }
                return self.done.push_component(name.bytes());
            }
            other => other?,
        };
        if !is(&nix::sys::stat::fstat(&entry)?, SFlag::S_IFLNK) {
            return self.done.push_component(name.bytes());
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        let mut target = Text::new();
        target.read_link(entry.as_fd())?;
        if target.bytes().first() == Some(&b'/') {
            self.done = Text::new();
        }
        target.push(b"/")?;
        target.push(self.rest.bytes())?;
        self.rest = target;
        Ok(())
    }
}

fn make(parent: BorrowedFd<'_>, name: &CStr, leaf: Leaf) -> Result<(), Errno> {
    let made = match leaf {
        Leaf::Directory => nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(0o755)),
        Leaf::File => nix::sys::stat::mknodat(
            parent,
            name,
            SFlag::S_IFREG,
            Mode::from_bits_truncate(0o644),
            0,
        ),
    };
    match made {
        // Somebody was faster; what is there is looked at when it is opened.
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

/// Whether a file is of a type.
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

/// A path on the stack, always NUL-terminated.
struct Text {
    buffer: [u8; PATH_MAX],
    length: usize,
}

impl Text {
    fn new() -> Text {
        Text { buffer: [0; PATH_MAX], length: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// The path; an empty one is `.`.
    fn as_c_str(&self) -> &CStr {
        if self.length == 0 {
            return c".";
        }
        CStr::from_bytes_until_nul(&self.buffer).unwrap_or(c".")
    }

    fn is_blank(&self) -> bool {
        self.bytes().iter().all(|byte| *byte == b'/')
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let end = self.length + bytes.len();
        if end >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.buffer.get_mut(self.length..end).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(bytes);
        self.truncate(end);
        Ok(())
    }

    fn push_component(&mut self, name: &[u8]) -> Result<(), Errno> {
        self.push(b"/")?;
        self.push(name)
    }

    fn pop_component(&mut self) {
        let end = self.bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.truncate(end);
    }

    fn truncate(&mut self, end: usize) {
        self.length = end;
        if let Some(byte) = self.buffer.get_mut(end) {
            *byte = 0;
        }
    }

    /// Moves the first component of this path into `name`; false when there is none left.
    fn take_component(&mut self, name: &mut Text) -> Result<bool, Errno> {
        let Some(start) = self.bytes().iter().position(|byte| *byte != b'/') else {
            return Ok(false);
        };
        let tail = self.bytes().get(start..).unwrap_or_default();
        let length = tail.iter().position(|byte| *byte == b'/').unwrap_or(tail.len());
        name.truncate(0);
        name.push(tail.get(..length).unwrap_or_default())?;
        let end = self.length;
        self.buffer.copy_within(start + length..end, 0);
        self.truncate(end - start - length);
        Ok(true)
    }

    fn read_link(&mut self, link: BorrowedFd<'_>) -> Result<(), Errno> {
        let room = PATH_MAX - 1;
        let to = self.buffer.as_mut_ptr();
        // SAFETY: a valid empty path (the link itself), and `room` bytes of our buffer.
        let length =
            unsafe { syscall!(libc::SYS_readlinkat, link, c"".as_ptr(), to, room)? } as usize;
        if length >= room {
            return Err(Errno::ENAMETOOLONG);
        }
        self.truncate(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let path = std::env::temp_dir().join(format!("in-root-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Root(path)
        }

        fn ensure(&self, path: &str, leaf: Leaf) -> Result<PathBuf, Errno> {
            let root = File::open(&self.0).unwrap();
            let fd = ensure(root.as_fd(), &CString::new(path).unwrap(), leaf)?;
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
            let found = std::fs::read_link(link).unwrap();
            assert!(found.as_os_str().as_bytes().starts_with(self.0.as_os_str().as_bytes()));
            Ok(found.strip_prefix(&self.0).unwrap().to_owned())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn missing_directories_and_the_file_at_the_end_are_made() {
        let root = Root::new("made");
        assert_eq!(root.ensure("/a/./b//c", Leaf::File), Ok("a/b/c".into()));
        assert!(root.0.join("a/b/c").is_file());
        assert_eq!(root.ensure("/a/x/", Leaf::Directory), Ok("a/x".into()));
        assert!(root.0.join("a/x").is_dir());
    }

    #[test]
    fn dotdot_and_links_stay_inside() {
        let root = Root::new("inside");
        std::os::unix::fs::symlink("../../../../new/place", root.0.join("up")).unwrap();
        std::os::unix::fs::symlink("/abs", root.0.join("rooted")).unwrap();
        assert_eq!(root.ensure("/up/end", Leaf::File), Ok("new/place/end".into()));
        assert_eq!(root.ensure("rooted", Leaf::Directory), Ok("abs".into()));
        assert_eq!(root.ensure("../../etc/hosts", Leaf::File), Ok("etc/hosts".into()));
    }

    #[test]
    fn a_real_path_has_no_links_whatever_they_lead_to() {
        let root = Root::new("real");
        let fd = File::open(&root.0).unwrap();
        let ensure = |path: &CStr, leaf| ensure_real(fd.as_fd(), path, leaf).map(drop);
        assert_eq!(ensure(c"/a/b", Leaf::File), Ok(()));
        assert!(root.0.join("a/b").is_file());
        std::os::unix::fs::symlink("a", root.0.join("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.0.join("dangling")).unwrap();
        for path in [c"/link", c"/link/b", c"/dangling", c"dangling/x"] {
            assert_eq!(ensure(path, Leaf::Directory), Err(Errno::ELOOP), "{path:?}");
        }
        assert_eq!(ensure(c"/a/../x", Leaf::Directory), Err(Errno::EINVAL));
        assert!(!root.0.join("nowhere").exists());
    }

    #[test]
    fn where_a_path_leads_is_told_though_a_part_of_it_is_missing() {
        let root = Root::new("leads");
        std::fs::create_dir(root.0.join("dir")).unwrap();
        std::os::unix::fs::symlink("/dir/missing", root.0.join("link")).unwrap();
        let open = File::open(&root.0).unwrap();
        for (path, below) in [
            (c"/dir", true),
            (c"/link", true),
            (c"/link/further/on", true),
            (c"/link/../../other", false),
            (c"/directory", false),
        ] {
            assert_eq!(leads_below(open.as_fd(), path, c"/dir"), Ok(below), "{path:?}");
        }
        assert!(!root.0.join("dir/missing").exists());
    }

    #[test]
    fn a_loop_of_links_is_refused() {
        let root = Root::new("loop");
        std::os::unix::fs::symlink("b", root.0.join("a")).unwrap();
        std::os::unix::fs::symlink("a", root.0.join("b")).unwrap();
        assert_eq!(root.ensure("/a", Leaf::File), Err(Errno::ELOOP));
        std::os::unix::fs::symlink("c/x", root.0.join("c")).unwrap();
        assert!(root.ensure("/c", Leaf::File).is_err());
    }
}
