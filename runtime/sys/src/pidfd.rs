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

/// The number of a process, as the caller sees it.
///
/// # Errors
/// `ESRCH` when it has been reaped.
pub fn number(process: BorrowedFd<'_>) -> Result<i32, Errno> {
    let raw = std::os::fd::AsRawFd::as_raw_fd(&process);
    let info = std::fs::read_to_string(format!("/proc/thread-self/fdinfo/{raw}"));
    let info = info.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    line.and_then(|pid| pid.trim().parse().ok()).filter(|pid| *pid > 0).ok_or(Errno::ESRCH)
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

/// What PIDFD_GET_INFO fills in, as of kernel 6.13: `struct pidfd_info`.
#[derive(Default)]
#[repr(C)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    status: i32,
}

/// `PIDFD_INFO_EXIT`
const EXIT: u64 = 1 << 3;

/// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)`
const GET_INFO: libc::Ioctl = 3 << 30 | (size_of::<Info>() as libc::Ioctl) << 16 | 0xff << 8 | 11;

/// The exit code (128 + n for signal n) of any process that has been reaped, child or not; `None`
/// while it has not, or where the kernel does not tell (before 6.15).
///
/// # Errors
/// `ESRCH` when it has been reaped and nothing was kept of it.
pub fn exit_code(process: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    let mut info = Info { mask: EXIT, ..Info::default() };
    let raw = std::os::fd::AsRawFd::as_raw_fd(&process);
    // SAFETY: the kernel writes at most as many bytes as the request's size says.
    match Errno::result(unsafe { libc::ioctl(raw, GET_INFO, &raw mut info) }) {
        Ok(_) if info.mask & EXIT != 0 => {}
        Ok(_) | Err(Errno::ENOTTY | Errno::EINVAL) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let code = match info.status & 0x7f {
        0 => (info.status >> 8) & 0xff,
        signal => 128 + signal,
    };
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::Command;

    /// Major and minor number of the kernel.
    fn kernel() -> (u32, u32) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    #[test]
    fn the_end_of_a_process_is_told_after_it_was_reaped() {
        let tells = kernel() >= (6, 15);
        for (script, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let process = open(child.id() as i32).unwrap();
            wait(process.as_fd(), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
            assert_eq!(exit_code(process.as_fd()), Ok(None));
            child.wait().unwrap();
            assert_eq!(exit_code(process.as_fd()), Ok(tells.then_some(code)));
        }
    }
}
