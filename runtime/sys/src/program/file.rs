//! Nodes, links and values in files.

use super::Reg;
use super::machine::Machine;
use crate::call::syscall;
use crate::in_root::{self, Leaf, is};
use crate::procfs;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mknodat};
use nix::unistd::{Gid, Uid};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

const PATH: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Steps on files.
#[derive(Debug)]
pub enum FileOp {
    /// Join a v1 control group: write `0` to its `tasks`.
    Join(Reg),
    /// Make a device node. One of the same type and number that is there stays; where anything
    /// else is, that is `EEXIST`.
    Device {
        /// The root.
        root: Reg,
        /// Directory inside the root, made if it is missing.
        parent: CString,
        /// Name in it.
        name: CString,
        /// Type and permission bits.
        mode: u32,
        /// Device number.
        rdev: u64,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// Make a symbolic link; what is there stays.
    Link {
        /// The root.
        root: Reg,
        /// Directory inside the root, made if it is missing.
        parent: CString,
        /// Name in it.
        name: CString,
        /// What it points at.
        target: CString,
    },
    /// Make a directory inside a root if it is missing.
    Directory {
        /// The root.
        root: Reg,
        /// Where.
        path: CString,
    },
    /// Write a value to a file of procfs.
    Value {
        /// The procfs.
        proc: Reg,
        /// Path in it.
        path: CString,
        /// What.
        value: Box<[u8]>,
        /// `EACCES` and `EPERM` are not the end, the value stays as it is and is reported.
        lenient: bool,
    },
    /// Write a security label to the first of some files of procfs that is there.
    Label {
        /// The procfs.
        proc: Reg,
        /// Paths in it.
        paths: Vec<CString>,
        /// What.
        value: Box<[u8]>,
    },
}

impl FileOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            FileOp::Join(tasks) => {
                write(machine.fd(*tasks)?.as_raw_fd(), b"0")?;
                machine.close(*tasks);
                Ok(())
            }
            FileOp::Device { root, parent, name, mode, rdev, owner } => {
                let parent = in_root::ensure(machine.fd(*root)?, parent, Leaf::Directory)?;
                let node = DeviceNode { mode: *mode, rdev: *rdev, owner: *owner };
                node.make(parent.as_fd(), name)
            }
            FileOp::Link { root, parent, name, target } => {
                let parent = in_root::ensure(machine.fd(*root)?, parent, Leaf::Directory)?;
                let made = nix::unistd::symlinkat(target.as_c_str(), &parent, name.as_c_str());
                if made == Err(Errno::EEXIST) { Ok(()) } else { made }
            }
            FileOp::Directory { root, path } => {
                in_root::ensure(machine.fd(*root)?, path, Leaf::Directory).map(drop)
            }
            FileOp::Value { proc, path, value, lenient } => {
                let written = write_value(machine.fd(*proc)?, path, value);
                match written {
                    Err(Errno::EACCES | Errno::EPERM) if *lenient => machine.clamped = true,
                    other => other?,
                }
                Ok(())
            }
            FileOp::Label { proc, paths, value } => label(machine, *proc, paths, value),
        }
    }
}

/// A device node that is to be.
struct DeviceNode {
    mode: u32,
    rdev: u64,
    owner: (u32, u32),
}

impl DeviceNode {
    /// A neighbour who shares the directory may exchange the node for a link or another file as
    /// soon as it is made: mode and owner are set through a descriptor of what was seen to be it.
    fn make(&self, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let kind = SFlag::from_bits_truncate(self.mode & libc::S_IFMT);
        let bits = Mode::from_bits_truncate(self.mode);
        let made = mknodat(parent, name, kind, bits, self.rdev);
        if made != Err(Errno::EEXIST) {
            made?;
        }
        let node = openat(parent, name, PATH.union(OFlag::O_NOFOLLOW), Mode::empty())?;
        let stat = fstat(&node)?;
        let numbered = kind == SFlag::S_IFCHR || kind == SFlag::S_IFBLK;
        if !is(&stat, kind) || numbered && stat.st_rdev != self.rdev {
            return Err(Errno::EEXIST);
        }
        if made.is_err() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        let flags = AtFlags::AT_EMPTY_PATH;
        nix::unistd::fchownat(&node, c"", Some(uid), Some(gid), flags)?;
        // The mask of the child is 0; a default ACL of the directory may have taken bits.
        if Mode::from_bits_truncate(stat.st_mode) != bits {
            crate::mode::set_at(node.as_fd(), c"", bits)?;
        }
        Ok(())
    }
}

fn write_value(proc: BorrowedFd<'_>, path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = procfs::open_file(proc, path, OFlag::O_WRONLY)?;
    write(file.as_raw_fd(), value)
}

/// The first of the files that is there decides.
fn label(
    machine: &mut Machine<'_>,
    proc: Reg,
    paths: &[CString],
    value: &[u8],
) -> Result<(), Errno> {
    for path in paths {
        match write_value(machine.fd(proc)?, path, value) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
    }
    machine.say(b"the kernel has no such security module");
    Err(Errno::ENOENT)
}

fn write(fd: i32, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: bytes of ours with their length.
    unsafe { syscall!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len())? };
    Ok(())
}
