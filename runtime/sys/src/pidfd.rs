//! Processes by descriptor: pidfd_open(2), pidfd_send_signal(2), waitid(2).

use crate::call::{fresh, syscall};
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A descriptor of a process; it stays that process's when the number is used again.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only; returns a fresh descriptor, close-on-exec.
    unsafe { Ok(fresh(syscall!(libc::SYS_pidfd_open, pid, 0)?)) }
}

/// Sends a signal, by number, so that real-time signals go too; 0 only checks.
///
/// # Errors
/// `ESRCH` when the process has been reaped, `EINVAL` for no signal.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    unsafe { syscall!(libc::SYS_pidfd_send_signal, process, signal, none, 0)? };
    Ok(())
}

/// Waits for a child as `flags` say; `WaitStatus::StillAlive` with `WNOHANG`.
///
/// # Errors
/// `ECHILD` when it is not a child of the caller, or reaped already.
pub fn wait(process: BorrowedFd<'_>, flags: WaitPidFlag) -> Result<WaitStatus, Errno> {
    loop {
        match waitid(Id::PIDFd(process), flags) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
