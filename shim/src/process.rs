//! What containers and execs have in common: a child, and how it ends.

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rrun_runtime::Kind;
use rrun_shim_protocol::{WireError, WireKind};
use rrun_sys::pidfd;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A child that has ended and is still a zombie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Process id.
    pub pid: Pid,
    /// Exit code, 128 + n for signal n.
    pub code: i32,
}

/// The next child that has ended, left as it is: its end must be on disk before it is reaped.
pub fn next_ended() -> Option<Ended> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, flags) {
        Ok(WaitStatus::Exited(pid, code)) => Some(Ended { pid, code }),
        Ok(WaitStatus::Signaled(pid, signal, _)) => Some(Ended { pid, code: 128 + signal as i32 }),
        _ => None,
    }
}

/// Takes the zombie away.
pub fn reap(pid: Pid) -> nix::Result<()> {
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG).map(drop)
}

/// Nobody has to wait for this child any more. The executor reaps those whose failure it hears of,
/// if they are dead by then.
pub fn is_reaped(process: BorrowedFd<'_>) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    pidfd::wait(process, flags) == Err(Errno::ECHILD)
}

/// An error for the daemon.
pub fn refuse(kind: WireKind, words: impl ToString) -> WireError {
    WireError { kind, chain: vec![words.to_string()] }
}

/// An executor's error for the daemon.
pub fn to_wire(error: &rrun_runtime::Error) -> WireError {
    let kind = match error.kind() {
        Kind::Exec { code } => WireKind::Exec(code),
        Kind::NotFound => WireKind::NotFound,
        Kind::Exists => WireKind::Exists,
        Kind::Invalid => WireKind::Invalid,
        Kind::Kernel | Kind::Ended => WireKind::Kernel,
    };
    WireError { kind, chain: error.chain().map(str::to_owned).collect() }
}

/// What a process has started, and what that has: `/proc/<pid>/task/<tid>/children`, proc(5).
pub fn descendants(of: Pid) -> Vec<i32> {
    let (mut found, mut next) = (Vec::new(), vec![of.as_raw()]);
    while let Some(pid) = next.pop() {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
            let new: Vec<i32> = children.filter(|child| !found.contains(child)).collect();
            found.extend(&new);
            next.extend(new);
        }
    }
    found
}

/// Kills a process that nobody has reaped, with what it has started.
pub fn kill_family(pid: Pid, process: BorrowedFd<'_>) {
    let family = descendants(pid).into_iter().filter_map(|pid| pidfd::open(pid).ok());
    // Held before the first is killed: what an orphan has started is not found any more.
    let family: Vec<OwnedFd> = family.collect();
    for process in std::iter::once(process).chain(family.iter().map(AsFd::as_fd)) {
        let _ = pidfd::send_signal(process, nix::libc::SIGKILL);
    }
}
