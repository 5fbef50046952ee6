//! What a daemon takes while it does something.

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// The begin of something.
pub struct Cost {
    pid: u32,
    cpu: f64,
}

impl Cost {
    /// From now on; the peak of memory begins with what is resident now.
    pub fn begin(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/clear_refs");
        // proc_pid_clear_refs(5): 5 resets the peak.
        fs::write(&path, "5").context(path)?;
        Ok(Self { pid, cpu: cpu(pid)? })
    }

    /// Seconds of the processors since then, with children that have ended.
    pub fn cpu(&self) -> Result<f64> {
        Ok(cpu(self.pid)? - self.cpu)
    }

    /// The most that was resident since then, in MiB.
    pub fn peak(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

fn cpu(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have spaces and brackets in it.
    let (_, behind) = text.rsplit_once(')').context("no name")?;
    // From the state on, which is the third field: utime, stime, cutime, cstime.
    let times = behind.split_whitespace().skip(11).take(4).map(str::parse::<i64>);
    let ticks: i64 = times.sum::<Result<_, _>>()?;
    let second = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
    Ok(ticks as f64 / second as f64)
}

/// Pages of files that are in memory, in MiB.
pub fn cached() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Cached:")).context("no Cached")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
