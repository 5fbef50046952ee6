//! Going on as a daemon.

use crate::program::{Forked, INTO_CGROUP, clone3};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::exit;

/// Goes on as a process of a session of its own, in `/`, with the standard descriptors at
/// `/dev/null`, as daemon(3) does; `group` is a directory of the unified hierarchy to be born in.
/// A process that moves there by `cgroup.procs` takes a lock that waits for all processors
/// (cgroups(7) names no such price: 6 ms of an idle machine's time; `CLONE_INTO_CGROUP` has none).
///
/// The caller's process ends here, with 0 once there is the daemon. Nobody holds the group's
/// descriptor for the daemon: it is the caller's to have it closed at execve.
///
/// # Errors
/// `EINVAL` from a process that has more than one thread, which it may not have; what clone3(2)
/// and fork(2) say.
pub fn daemon(group: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    // By unshare(2) it is an error for a process that has threads, and otherwise nothing.
    unshare(CloneFlags::CLONE_THREAD)?;
    if let Some(group) = group {
        let group = group.as_raw_fd() as u64;
        // SAFETY: there is one thread, so nobody else holds a lock. The child has the number of
        // its parent's thread in the C library's hands, and leaves it as soon as may be: the
        // daemon is its child by fork(2), which puts the right one there.
        let born = unsafe { clone3(INTO_CGROUP, libc::SIGCHLD as u64, group)? };
        if let Forked::Parent(child, _) = born {
            exit(match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, code)) => code,
                _ => 1,
            });
        }
    }
    nix::unistd::daemon(false, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_process_with_threads_does_not_become_a_daemon() {
        let (go, wait) = channel::<()>();
        let other = thread::spawn(move || wait.recv());
        assert_eq!(daemon(None), Err(Errno::EINVAL));
        assert!(fs::exists("/proc/self").unwrap());
        drop(go);
        let _ = other.join();
    }
}
