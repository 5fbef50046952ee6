//! clone3(2).

use super::machine::{Machine, Words};
use super::report::Detail;
use super::{Program, machine};
use crate::call::{fresh, syscall};
use libc::c_long;
use nix::errno::Errno;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP`, which do not fit the C library's type.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
pub(crate) const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Where a child begins its life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placement<'fd> {
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// A directory of the unified hierarchy to be born in.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// Clones a child that walks `program` and talks over `channel`, its end of
/// [`super::report::channel`]. Returns its id and its pidfd at once.
///
/// The child starts with every signal handler at its default, and closes what is neither in the
/// program's table nor 0, 1, 2, handed on or the channel before its first step.
///
/// # Errors
/// What clone3(2) says.
pub fn start(
    program: &mut Program<'_>,
    channel: BorrowedFd<'_>,
    placement: Placement<'_>,
) -> Result<(Pid, OwnedFd), Errno> {
    let mut flags = libc::CLONE_PIDFD as u64 | CLEAR_SIGHAND;
    flags |= placement.namespaces;
    let mut cgroup = 0;
    if let Some(directory) = placement.cgroup {
        flags |= INTO_CGROUP;
        cgroup = directory.as_raw_fd() as u64;
    }
    // SAFETY: the child only runs the machine, which is made for it.
    let (pid, pidfd) = match unsafe { clone3(flags, libc::SIGCHLD as u64, cgroup)? } {
        Forked::Parent(pid, pidfd) => (pid, pidfd),
        Forked::Child => {
            let mut machine = Machine {
                fds: &mut program.fds,
                channel: channel.as_raw_fd(),
                cwd_failed: false,
                chosen: 0,
                detail: Detail::Plain,
                clamped: false,
                said: Words::NONE,
                pid: Words::NONE,
            };
            if machine.close_others(program.inherited).is_err() {
                machine::exit(125);
            }
            machine.run(&program.steps)
        }
    };
    Ok((pid, pidfd))
}

/// As [`clone3`], where a filter may have come before that knows no clone3(2).
///
/// # Safety
/// As [`clone3`].
pub(super) unsafe fn fork() -> Result<Forked, Errno> {
    // SAFETY: as promised by the caller.
    match unsafe { clone3(0, libc::SIGCHLD as u64, 0) } {
        Err(Errno::ENOSYS | Errno::EPERM) => {}
        other => return other,
    }
    let mut pidfd: RawFd = -1;
    let (flags, at) = (libc::CLONE_PIDFD | libc::SIGCHLD, std::ptr::from_mut(&mut pidfd));
    let none = std::ptr::null::<u8>();
    // SAFETY: no stack and no shared memory, so this returns twice like fork(2); the descriptor is
    // stored where the parent's thread id would be.
    let pid = unsafe { syscall!(libc::SYS_clone, flags, none, at, none, none)? };
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has stored a fresh descriptor there.
    let pidfd = unsafe { fresh(c_long::from(pidfd)) };
    Ok(Forked::Parent(Pid::from_raw(pid as i32), pidfd))
}

/// Who one is after a clone.
pub(crate) enum Forked {
    Parent(Pid, OwnedFd),
    Child,
}

/// A clone without shared memory, with a pidfd.
///
/// # Safety
/// The child has one thread and a copy of memory in which others may hold locks: it may only do
/// what a signal handler may.
pub(crate) unsafe fn clone3(flags: u64, exit_signal: u64, cgroup: u64) -> Result<Forked, Errno> {
    let mut pidfd: RawFd = -1;
    let at = std::ptr::from_mut(&mut pidfd) as u64;
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    // set_tid_size, cgroup: struct clone_args, version 2.
    let args: [u64; 11] =
        [flags | libc::CLONE_PIDFD as u64, at, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup];
    // SAFETY: no stack and no shared memory, so this returns twice like fork(2).
    let pid = unsafe { syscall!(libc::SYS_clone3, args.as_ptr(), size_of_val(&args))? };
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has stored a fresh descriptor there.
    let pidfd = unsafe { fresh(c_long::from(pidfd)) };
    Ok(Forked::Parent(Pid::from_raw(pid as i32), pidfd))
}
