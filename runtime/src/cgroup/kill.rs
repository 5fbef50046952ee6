//! Killing what is in groups.

use crate::plan::Cgroups;
use crate::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use rrun_sys::step;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How often a v1 group is looked through for processes that were not signalled yet.
const ROUNDS: u32 = 16;

/// Kills every process in the groups and below: `cgroup.kill` where a unified directory is among
/// them, else freeze, signal all, thaw. Groups that are gone are done. The processes die a little
/// later. Step `runtime.kill.cgroup`.
///
/// # Errors
/// The file and the kernel's answer.
pub fn kill(groups: &Cgroups) -> Result<()> {
    step::only("runtime.kill.cgroup", || kill_all(groups))
}

fn kill_all(groups: &Cgroups) -> Result<()> {
    if let Some(unified) = groups.dirs.iter().find(|dir| dir.unified) {
        return write_existing(&unified.path.join("cgroup.kill"), "1");
    }
    // Any hierarchy tells the processes; freezing needs its own.
    let Some(dir) = groups.dirs.first() else { return Ok(()) };
    let freezer = groups.dirs.iter().map(|dir| dir.path.join("freezer.state"));
    let freezer = freezer.filter(|path| path.exists()).collect::<Vec<PathBuf>>();
    // Frozen tasks fork no more, so that one look at all of them is enough; without a freezer
    // look again until nothing new is found.
    for state in &freezer {
        write_existing(state, "FROZEN")?;
    }
    let killed = kill_rounds(&dir.path);
    for state in &freezer {
        write_existing(state, "THAWED")?;
    }
    killed
}

fn kill_rounds(dir: &Path) -> Result<()> {
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let mut all = Vec::new();
        collect(dir, &mut all)?;
        let fresh: Vec<Pid> = all.into_iter().filter(|pid| !seen.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            match signal(pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => seen.push(pid),
                Err(errno) => return Err(errno).doing(|| format!("kill {pid}")),
            }
        }
    }
    Ok(())
}

/// The processes in the groups and below, seen from the caller.
///
/// # Errors
/// What the kernel says; groups that are gone have no processes.
pub fn processes(groups: &Cgroups) -> Result<Vec<Pid>> {
    let unified = groups.dirs.iter().find(|dir| dir.unified);
    let mut pids = Vec::new();
    if let Some(dir) = unified.or(groups.dirs.first()) {
        collect(&dir.path, &mut pids)?;
    }
    Ok(pids)
}

fn collect(dir: &Path, pids: &mut Vec<Pid>) -> Result<()> {
    let path = dir.join("cgroup.procs");
    match std::fs::read_to_string(&path) {
        // The last process has gone and somebody has removed the group meanwhile.
        Err(error) if is_gone(&error) => return Ok(()),
        text => {
            let text = text.doing(|| format!("read {}", path.display()))?;
            pids.extend(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw));
        }
    }
    let entries = match std::fs::read_dir(dir) {
        Err(error) if is_gone(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), pids)?;
        }
    }
    Ok(())
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn write_existing(path: &Path, value: &str) -> Result<()> {
    match std::fs::OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        file => {
            let context = || format!("write {value} to {}", path.display());
            match std::io::Write::write_all(&mut file.doing(context)?, value.as_bytes()) {
                Err(error) if is_gone(&error) => Ok(()),
                other => other.doing(context),
            }
        }
    }
}
