//! Talk with the parent, and the standard descriptors.

use super::Reg;
use super::machine::{Machine, close_range};
use super::report::{self, Ask, Kind};
use crate::call::syscall;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Steps that talk, and the standard descriptors.
#[derive(Debug)]
pub enum Flow {
    /// Say that all is prepared.
    Ready,
    /// Wait for a packet; the child ends when the parent closes its end without one.
    Await,
    /// Ask the parent to do something, and wait until it is done.
    Ask(Ask),
    /// Wait for a connection at this listening socket; it becomes the channel.
    Accept(Reg),
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

impl Flow {
    pub(super) fn run(&self, machine: &mut Machine<'_>) -> Result<(), Errno> {
        match self {
            Flow::Ready => report::send(machine.channel, Kind::Waiting, &[]),
            Flow::Await => await_packet(machine.channel)?,
            Flow::Ask(question) => ask(machine, *question)?,
            Flow::Accept(listener) => accept(machine, *listener)?,
            Flow::Stdio(from) => {
                for (to, reg) in from.iter().enumerate() {
                    duplicate(machine.fd(*reg)?.as_raw_fd(), to as RawFd)?;
                }
                from.iter().for_each(|reg| machine.close(*reg));
            }
            Flow::OwnStdio { uid } => own_stdio(*uid)?,
            Flow::Close(reg) => machine.close(*reg),
            Flow::CloseOnExec(from) => close_range(*from, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)?,
        }
        Ok(())
    }
}

fn await_packet(channel: RawFd) -> Result<(), Errno> {
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte of ours to write to.
        match unsafe { syscall!(libc::SYS_read, channel, std::ptr::from_mut(&mut byte), 1) } {
            // Nobody is left who could start or report this process.
            Ok(0) => super::machine::exit(125),
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

fn ask(machine: &mut Machine<'_>, question: Ask) -> Result<(), Errno> {
    report::send_ask(machine.channel, question)?;
    let mut packet = [0_u8; report::ANSWER_MAX];
    let (pointer, room) = (packet.as_mut_ptr(), packet.len());
    let length = loop {
        // SAFETY: a buffer of ours with its length.
        match unsafe { syscall!(libc::SYS_read, machine.channel, pointer, room) } {
            Ok(0) => super::machine::exit(125),
            Err(Errno::EINTR) => {}
            other => break other? as usize,
        }
    };
    let answer = packet.get(..length).and_then(<[u8]>::split_first_chunk::<4>);
    let (errno, words) = answer.ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(*errno) {
        0 => Ok(()),
        errno => {
            machine.say(words);
            Err(Errno::from_raw(errno))
        }
    }
}

fn accept(machine: &mut Machine<'_>, listener: Reg) -> Result<(), Errno> {
    let fd = machine.fd(listener)?;
    loop {
        let none = std::ptr::null::<u8>();
        // SAFETY: no address is asked for.
        match unsafe { syscall!(libc::SYS_accept4, fd, none, none, libc::SOCK_CLOEXEC) } {
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno),
            Ok(connection) => {
                // SAFETY: the channel is ours; nobody reads it any more.
                let _ = unsafe { syscall!(libc::SYS_close, machine.channel) };
                machine.channel = connection as RawFd;
                machine.close(listener);
                return Ok(());
            }
        }
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
