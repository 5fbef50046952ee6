//! What a program that is started gets beside its arguments and standard descriptors.

use crate::call::syscall;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has a command find these descriptors open, under the numbers that they have here. No other program
/// that this process starts gets them.
pub fn hand_on(command: &mut Command, fds: Vec<OwnedFd>) {
    // SAFETY: in the child of a fork: system calls with integers, which allocate nothing. The
    // descriptors are open there, for the closure owns them.
    unsafe {
        command.pre_exec(move || {
            for fd in &fds {
                syscall!(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_SETFD, 0)?;
            }
            Ok(())
        });
    }
}

/// Has a command find `source`, with what is mounted below, mounted at the directory `target`: in a
/// mount namespace of its own, of which nobody else sees anything and nothing is left.
pub fn bind_privately(command: &mut Command, source: CString, target: CString) {
    let (private, bind) = (libc::MS_REC | libc::MS_PRIVATE, libc::MS_REC | libc::MS_BIND);
    // SAFETY: in the child of a fork: system calls on strings that the closure owns, which allocate
    // nothing.
    unsafe {
        command.pre_exec(move || {
            let none = std::ptr::null::<libc::c_char>();
            syscall!(libc::SYS_unshare, libc::CLONE_NEWNS)?;
            syscall!(libc::SYS_mount, none, c"/".as_ptr(), none, private, none)?;
            syscall!(libc::SYS_mount, source.as_ptr(), target.as_ptr(), none, bind, none)?;
            Ok(())
        });
    }
}
