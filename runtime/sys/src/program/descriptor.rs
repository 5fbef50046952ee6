//! The standard descriptors, and which are closed.

use super::Reg;
use super::machine::{Machine, close_range};
use super::report;
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
    /// Send a descriptor to whoever is at the other end of a stream, with a text: between each two
    /// of its parts comes this process's id, which [`super::ChannelOp::LearnPid`] has asked for.
    Send {
        /// The descriptor.
        fd: Reg,
        /// The stream.
        to: Reg,
        /// The text. Where the last part is empty, the number does not come before it.
        text: [Box<[u8]>; 3],
    },
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
            DescriptorOp::Send { fd, to, text } => {
                let (fd, to) = (machine.fd(*fd)?.as_raw_fd(), machine.fd(*to)?.as_raw_fd());
                send(fd, to, text, machine.pid.bytes())?;
            }
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

/// In one message as far as the stream takes it: a receiver may read once.
fn send(fd: RawFd, to: RawFd, text: &[Box<[u8]>; 3], pid: &[u8]) -> Result<(), Errno> {
    let [start, middle, end] = text;
    let second = if end.is_empty() { &[] } else { pid };
    let mut parts: [&[u8]; 5] = [start, pid, middle, second, end];
    let mut fd = Some(fd);
    while parts.iter().any(|part| !part.is_empty()) {
        let mut sent = match report::send_parts(to, parts, fd) {
            Err(Errno::EINTR) => continue,
            sent => sent?,
        };
        fd = None;
        for part in &mut parts {
            let taken = sent.min(part.len());
            *part = part.get(taken..).unwrap_or_default();
            sent -= taken;
        }
    }
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
