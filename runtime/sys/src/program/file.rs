//! Nodes, links and values in files.

use super::Reg;
use super::machine::Machine;
use crate::call::syscall;
use crate::in_root::{self, Leaf};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag};
use nix::unistd::{Gid, Uid};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

/// Steps on files.
#[derive(Debug)]
pub enum File {
    /// Join a v1 control group: write `0` to its `tasks`.
    Join(Reg),
    /// Make a device node; one that is there stays.
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
}

impl File {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            File::Join(tasks) => {
                write(machine.fd(*tasks)?.as_raw_fd(), b"0")?;
                machine.close(*tasks);
                Ok(())
            }
            File::Device { root, parent, name, mode, rdev, owner } => {
                let parent = in_root::ensure(machine.fd(*root)?, parent, Leaf::Directory)?;
                let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
                let bits = Mode::from_bits_truncate(*mode);
                let name = name.as_c_str();
                match nix::sys::stat::mknodat(&parent, name, kind, bits, *rdev) {
                    Err(Errno::EEXIST) => return Ok(()),
                    other => other?,
                }
                // The mask has taken bits from the mode.
                nix::sys::stat::fchmodat(&parent, name, bits, FchmodatFlags::FollowSymlink)?;
                let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                nix::unistd::fchownat(&parent, name, Some(uid), Some(gid), flags)
            }
            File::Link { root, parent, name, target } => {
                let parent = in_root::ensure(machine.fd(*root)?, parent, Leaf::Directory)?;
                let made = nix::unistd::symlinkat(target.as_c_str(), &parent, name.as_c_str());
                if made == Err(Errno::EEXIST) { Ok(()) } else { made }
            }
            File::Directory { root, path } => {
                in_root::ensure(machine.fd(*root)?, path, Leaf::Directory).map(drop)
            }
            File::Value { proc, path, value, lenient } => {
                let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                let proc = machine.fd(*proc)?;
                let written = openat(proc, path.as_c_str(), flags, Mode::empty())
                    .and_then(|fd| write(fd.as_fd().as_raw_fd(), value));
                match written {
                    Err(Errno::EACCES | Errno::EPERM) if *lenient => machine.clamped = true,
                    other => other?,
                }
                Ok(())
            }
        }
    }
}

fn write(fd: i32, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: bytes of ours with their length.
    unsafe { syscall!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len())? };
    Ok(())
}
