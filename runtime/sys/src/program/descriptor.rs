//! The standard descriptors, and which are closed.

use super::Reg;
use super::machine::{Machine, close_range};
use crate::call::syscall;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Steps on descriptors.
#[derive(Debug)]
pub enum DescriptorOp {
    /// Make these the descriptors 0, 1 and 2.
    Stdio([Reg; 3]),
    /// Give the standard descriptors to a user, so that it can open `/dev/stdout` though it is a
    /// pipe of somebody else. `/dev/null` stays root's.
    OwnStdio {
        /// User id.
        uid: u32,
    },
    /// Close a register.
    Close(Reg),
    /// Have execve close everything from this descriptor on.
    CloseOnExec(RawFd),
}

impl DescriptorOp {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            DescriptorOp::Stdio(from) => {
                for (to, reg) in from.iter().enumerate() {
                    duplicate(machine.fd(*reg)?.as_raw_fd(), to as RawFd)?;
                }
                from.iter().for_each(|reg| machine.close(*reg));
            }
            DescriptorOp::OwnStdio { uid } => own_stdio(*uid)?,
            DescriptorOp::Close(reg) => machine.close(*reg),
            DescriptorOp::CloseOnExec(from) => {
                close_range(*from, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)?;
            }
        }
        Ok(())
    }
}

/// dup3(2) without close-on-exec.
pub(super) fn duplicate(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only; 0, 1 and 2 have no owner in the child.
    unsafe { syscall!(libc::SYS_dup3, from, to, 0)? };
    Ok(())
}

fn own_stdio(uid: u32) -> Result<(), Errno> {
    let null = nix::sys::stat::makedev(1, 3);
    for fd in 0..3 {
        // SAFETY: the standard descriptors are open: `Stdio` has put them there.
        let stat = fstat(unsafe { BorrowedFd::borrow_raw(fd) })?;
        let is_null = crate::in_root::is(&stat, SFlag::S_IFCHR) && stat.st_rdev == null;
        if is_null || stat.st_uid == uid {
            continue;
        }
        // SAFETY: integers only; -1 leaves the group.
        match unsafe { syscall!(libc::SYS_fchown, fd, uid, u32::MAX) } {
            // A read-only file system, a device of the host in a user namespace, a socket: the
            // process can use the descriptor all the same.
            Ok(_) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
