//! What a group has used.

use crate::plan::Cgroups;
use crate::{Error, Kind, Result};

/// Figures of one container's groups; `None` where the host has no such controller or file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time used, nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Swap used, bytes (v1: only with swap accounting).
    pub swap_usage: Option<u64>,
    /// Tasks.
    pub pids: Option<u64>,
    /// Pressure of cpu, memory and io (v2 and hybrid).
    pub pressure: Option<Pressures>,
}

/// Memory figures, in bytes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Everything charged, page cache included.
    pub usage: u64,
    /// Usage without inactive file pages: what the kubelet evicts by.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Major page faults.
    pub major_page_faults: u64,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// Pressure stall information: `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressures {
    /// `cpu.pressure`
    pub cpu: Pressure,
    /// `memory.pressure`
    pub memory: Pressure,
    /// `io.pressure`
    pub io: Pressure,
}

/// One resource's pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some tasks were stalled.
    pub some: Stall,
    /// All tasks were stalled.
    pub full: Stall,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// Share of the last 10 seconds, hundredths of a percent.
    pub avg10: u32,
    /// Share of the last 60 seconds, hundredths of a percent.
    pub avg60: u32,
    /// Share of the last 300 seconds, hundredths of a percent.
    pub avg300: u32,
    /// Stalled in all, microseconds.
    pub total_us: u64,
}

/// Reads the figures of the groups.
///
/// # Errors
/// `NotFound` when the groups are gone.
pub fn read(groups: &Cgroups) -> Result<Stats> {
    let _ = groups;
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// How many processes the kernel has killed in the groups for want of memory.
///
/// # Errors
/// `NotFound` when the groups are gone.
pub fn oom_kills(groups: &Cgroups) -> Result<u64> {
    let _ = groups;
    Err(Error::new(Kind::Kernel, "not there yet"))
}
