//! What containers and execs have in common: a child, and how it ends.

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rrun_runtime::Kind;
use rrun_shim_protocol::{WireError, WireKind};
use rrun_sys::pidfd;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

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

/// So many processes of a family are looked for, and so many lists of children are read for it: a
/// runtime has a handful, and a container that is full of them is killed by its groups.
const FAMILY: usize = 1024;
/// So much of one list is read.
const LIST: u64 = 64 << 10;

/// A process that another one has started, held: its number is its own for as long as it lives.
pub struct Descendant {
    /// Process id.
    pub pid: Pid,
    process: OwnedFd,
}

/// What a process has started, and what that has: `/proc/<pid>/task/<tid>/children`, proc(5). None of
/// one that has been reaped, whose number may be somebody else's by now.
pub fn descendants(of: Pid, process: BorrowedFd<'_>) -> Vec<Descendant> {
    family(of, process, FAMILY)
}

fn family(of: Pid, process: BorrowedFd<'_>, most: usize) -> Vec<Descendant> {
    if is_reaped(process) {
        return Vec::new();
    }
    let (mut found, mut pids, mut lists) = (Vec::new(), vec![of.as_raw()], 0);
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            lists += 1;
            let children = children_in(&thread.path().join("children"));
            for child in children.into_iter().filter_map(|child| hold(child, pid)) {
                if found.len() == most {
                    return found;
                }
                pids.push(child.pid.as_raw());
                found.push(child);
            }
            if lists == most {
                return found;
            }
        }
    }
    found
}

fn children_in(list: &Path) -> Vec<i32> {
    let mut text = String::new();
    let read = fs::File::open(list).and_then(|file| file.take(LIST).read_to_string(&mut text));
    match read {
        // The last number of a list that is cut may be cut too.
        Ok(length) if length as u64 == LIST => text.truncate(text.rfind(' ').unwrap_or(0)),
        _ => {}
    }
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A child of `parent`. By the time at which it is opened it may have been reaped, and its number be
/// another process's, which has another parent.
fn hold(child: i32, parent: i32) -> Option<Descendant> {
    let process = pidfd::open(child).ok()?;
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
    // The name may have brackets and blanks in it; state and parent follow.
    let its_parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse();
    // What stood there was this process's if that is not reaped now.
    pidfd::send_signal(process.as_fd(), 0).ok()?;
    (its_parent == Ok(parent)).then_some(Descendant { pid: Pid::from_raw(child), process })
}

/// Kills a process with what it has started; nobody where it has been reaped.
pub fn kill_family(pid: Pid, process: BorrowedFd<'_>) {
    // Held before the first is killed: what an orphan has started is not found any more.
    let family = descendants(pid, process);
    let others = family.iter().map(|descendant| descendant.process.as_fd());
    for process in std::iter::once(process).chain(others) {
        let _ = pidfd::send_signal(process, nix::libc::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// A shell with so many children, each of which is known to be there.
    fn parent(children: usize) -> (Child, OwnedFd) {
        let script = format!("for i in $(seq {children}); do sleep 1000 & done; wait");
        let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let process = pidfd::open(child.id() as i32).unwrap();
        while descendants(pid(&child), process.as_fd()).len() < children {
            std::thread::yield_now();
        }
        (child, process)
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(child.id() as i32)
    }

    #[test]
    fn who_has_the_number_of_a_process_that_was_reaped_is_not_killed_with_its_family() {
        let (mut other, its) = parent(2);
        let mut reaped = Command::new("true").spawn().unwrap();
        let process = pidfd::open(reaped.id() as i32).unwrap();
        reaped.wait().unwrap();
        kill_family(pid(&other), process.as_fd());
        assert_eq!(descendants(pid(&other), its.as_fd()).len(), 2);
        assert_eq!(other.try_wait().unwrap(), None);
        kill_family(pid(&other), its.as_fd());
        other.wait().unwrap();
    }

    #[test]
    fn a_family_is_killed_to_the_last_and_looked_for_no_further_than_its_bound() {
        let (mut all, process) = parent(5);
        assert_eq!(family(pid(&all), process.as_fd(), 3).len(), 3);
        let family = descendants(pid(&all), process.as_fd());
        kill_family(pid(&all), process.as_fd());
        all.wait().unwrap();
        for descendant in family {
            while pidfd::send_signal(descendant.process.as_fd(), 0).is_ok() {
                let stat = fs::read_to_string(format!("/proc/{}/stat", descendant.pid));
                if stat.is_ok_and(|stat| stat.contains(") Z ")) {
                    // Whoever it was left to has yet to reap it.
                    break;
                }
            }
        }
    }

    #[test]
    fn a_process_with_another_parent_is_nobodys_descendant() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let number = child.id() as i32;
        assert!(hold(number, std::process::id() as i32).is_some());
        assert!(hold(number, 1).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
