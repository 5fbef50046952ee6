//! The first process of a container, known beyond its number.

use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// A process that is not mistaken for another one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStart {
    pub pid: i32,
    /// Clock ticks after boot.
    pub ticks: u64,
}

impl ProcessStart {
    /// The process that has the number now; `None` when it has ended.
    pub fn of(pid: i32) -> Option<ProcessStart> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc(5): the name may hold anything, also `)`. State is field 3, start is field 22.
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        let state = fields.next()?;
        let ticks = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(ProcessStart { pid, ticks })
    }

    /// A descriptor of the process, if it is still that one.
    pub fn open(self) -> Option<OwnedFd> {
        let pidfd = rrun_sys::pidfd::open(self.pid).ok()?;
        (ProcessStart::of(self.pid)? == self).then_some(pidfd)
    }
}
