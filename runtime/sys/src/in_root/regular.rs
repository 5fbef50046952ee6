//! Files that somebody else has chosen and the host reads: regular ones, and nothing else.
//!
//! Opening is an act: a device acts on the host, a FIFO blocks, a terminal may become the
//! opener's own. So what a path leads to is looked at through an `O_PATH` descriptor, which opens
//! nothing, and only what was seen to be a regular file is opened, through that very descriptor.

use super::{is, open};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::fstatfs;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// File systems of the kernel's own (linux/magic.h): what they call a regular file may block its
/// reader or take what it reads from another one, as `/proc/kmsg` does.
const KERNELS_OWN: [u64; 10] = [
    0x9fa0,      // PROC_SUPER_MAGIC
    0x6265_6572, // SYSFS_MAGIC
    0x6462_6720, // DEBUGFS_MAGIC
    0x7472_6163, // TRACEFS_MAGIC
    0x7363_6673, // SECURITYFS_MAGIC
    0x0027_e0eb, // CGROUP_SUPER_MAGIC
    0x6367_7270, // CGROUP2_SUPER_MAGIC
    0xf97c_ff8c, // SELINUX_MAGIC
    0xcafe_4a11, // BPF_FS_MAGIC
    0x1980_0202, // MQUEUE_MAGIC
];

/// Opens the regular file at `path` inside `root` for reading. Links are followed as a process
/// would that was chrooted there, so none leads out; magic links are refused.
///
/// # Errors
/// `InvalidInput` for anything that is no regular file (a directory, a device, a FIFO, a socket)
/// or lies in procfs and its like; else what openat2(2) says.
pub fn open_regular(root: BorrowedFd<'_>, path: &CStr) -> io::Result<File> {
    reopen(&open(root, path, OFlag::O_PATH)?, OFlag::O_RDONLY)
}

/// Opens the regular file at `path` inside `root` for writing, where it is. A link at its end is not
/// followed.
///
/// # Errors
/// As [`open_regular`].
pub fn open_regular_to_write(root: BorrowedFd<'_>, path: &CStr) -> io::Result<File> {
    reopen(&open(root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?, OFlag::O_WRONLY)
}

/// Opens the regular file at a path of the host for reading. Links are followed, wherever they
/// lead.
///
/// # Errors
/// As [`open_regular`]; else what openat(2) says.
pub fn open_regular_of_host(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    reopen(&openat(AT_FDCWD, path, flags, Mode::empty())?, OFlag::O_RDONLY)
}

/// Opens what an `O_PATH` descriptor stands for, if it is a regular file.
fn reopen(found: &OwnedFd, access: OFlag) -> io::Result<File> {
    check_regular(found)?;
    let flags = access | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    // Of this thread: it may have a table of its own (`crate::thread`).
    let link = format!("/proc/thread-self/fd/{}", found.as_raw_fd());
    Ok(openat(AT_FDCWD, link.as_str(), flags, Mode::empty())?.into())
}

/// Reads the regular file at `path` inside `root`, of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`]; `EFBIG` for a longer file.
pub fn read_regular(root: BorrowedFd<'_>, path: &CStr, limit: u64) -> io::Result<Vec<u8>> {
    read(&open_regular(root, path)?, limit)
}

/// Reads the regular file at a path of the host, of at most `limit` bytes: one that stands in a
/// folder which pods can write to, for example.
///
/// # Errors
/// As [`open_regular_of_host`]; `EFBIG` for a longer file.
pub fn read_regular_of_host(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(&open_regular_of_host(path)?, limit)
}

fn read(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    // Most fit, and are read at once then.
    let mut bytes = Vec::with_capacity(4096);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Errno::EFBIG.into());
    }
    Ok(bytes)
}

/// That it is a regular file, and none of the kernel's own.
pub(crate) fn check_regular(found: &OwnedFd) -> io::Result<()> {
    let regular = is(&fstat(found)?, SFlag::S_IFREG);
    let magic = fstatfs(found)?.filesystem_type().0 as u64;
    if regular && !KERNELS_OWN.contains(&magic) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::{makedev, mknod};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let path = std::env::temp_dir().join(format!("regular-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Root(path)
        }

        fn read(&self, path: &CStr, limit: u64) -> io::Result<Vec<u8>> {
            let root = File::open(&self.0).unwrap();
            read_regular(root.as_fd(), path, limit)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_read_through_links_that_stay_inside() {
        let root = Root::new("inside");
        std::fs::create_dir(root.0.join("usr")).unwrap();
        std::fs::write(root.0.join("usr/passwd"), "root").unwrap();
        symlink("/usr/passwd", root.0.join("rooted")).unwrap();
        symlink("../../../usr/passwd", root.0.join("up")).unwrap();
        for path in [c"/usr/passwd", c"rooted", c"up"] {
            assert_eq!(root.read(path, 4).unwrap(), b"root");
        }
        symlink("/etc/hostname", root.0.join("out")).unwrap();
        assert_eq!(root.read(c"out", 100).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_longer_file_than_allowed_is_refused() {
        let root = Root::new("long");
        std::fs::write(root.0.join("file"), "12345").unwrap();
        let refused = root.read(c"file", 4).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EFBIG));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let root = Root::new("kinds");
        let mode = Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&root.0.join("fifo"), mode).unwrap();
        std::fs::create_dir(root.0.join("directory")).unwrap();
        let _listener = UnixListener::bind(root.0.join("socket")).unwrap();
        let mut paths = vec![c"fifo", c"directory", c"socket"];
        if nix::unistd::geteuid().is_root() {
            // Nobody has a driver for it: opening it would be ENXIO or ENODEV.
            let device = makedev(240, 7);
            mknod(&root.0.join("device"), SFlag::S_IFCHR, mode, device).unwrap();
            paths.push(c"device");
        }
        for path in paths {
            let refused = root.read(path, 10).unwrap_err();
            assert_eq!(refused.to_string(), "not a regular file", "{path:?}");
            let path = root.0.join(path.to_str().unwrap());
            let refused = read_regular_of_host(&path, 10).unwrap_err();
            assert_eq!(refused.to_string(), "not a regular file", "{path:?}");
        }
    }

    #[test]
    fn only_a_regular_file_is_written_and_none_behind_a_link() {
        let root = Root::new("write");
        std::fs::write(root.0.join("file"), "old").unwrap();
        symlink("file", root.0.join("link")).unwrap();
        nix::unistd::mkfifo(&root.0.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let folder = File::open(&root.0).unwrap();
        let mut file = open_regular_to_write(folder.as_fd(), c"file").unwrap();
        io::Write::write_all(&mut file, b"new").unwrap();
        assert_eq!(std::fs::read(root.0.join("file")).unwrap(), b"new");
        for path in [c"link", c"fifo"] {
            let refused = open_regular_to_write(folder.as_fd(), path).unwrap_err();
            assert_eq!(refused.to_string(), "not a regular file", "{path:?}");
        }
    }

    #[test]
    fn a_link_of_the_host_is_followed() {
        let root = Root::new("host");
        std::fs::write(root.0.join("file"), "here").unwrap();
        symlink(root.0.join("file"), root.0.join("link")).unwrap();
        assert_eq!(read_regular_of_host(&root.0.join("link"), 4).unwrap(), b"here");
    }

    #[test]
    fn a_file_of_procfs_is_none_that_an_image_may_choose() {
        let host = File::open(Path::new("/")).unwrap();
        let refused = open_regular(host.as_fd(), c"/proc/version").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
