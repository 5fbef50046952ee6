//! Moving processes from groups into others.

use super::members;
use crate::plan::Cgroups;
use crate::{Context, Result};
use nix::errno::Errno;
use rrun_sys::step;
use std::collections::BTreeSet;
use std::path::Path;

/// Moves every process in the groups `from` and below into the groups `to`, in each hierarchy, and
/// tells which. `to` lists the hierarchies in the same order. Groups that are gone have none. A
/// process that is exiting stays: the kernel takes it out of its group itself. Step
/// `runtime.move.cgroup`.
///
/// # Errors
/// The file and the kernel's answer.
pub fn move_processes(from: &Cgroups, to: &Cgroups) -> Result<Vec<i32>> {
    step::run("runtime.move.cgroup", || {
        let mut moved = BTreeSet::new();
        for (from, to) in from.dirs.iter().zip(&to.dirs) {
            // 0 is one that is not seen from here; written, it would be the caller.
            for pid in members::all(&from.path)?.into_iter().filter(|pid| *pid > 0) {
                if move_one(pid, &to.path)? {
                    moved.insert(pid);
                }
            }
        }
        Ok(moved.into_iter().collect())
    })
}

/// False for one that has ended meanwhile.
fn move_one(pid: i32, to: &Path) -> Result<bool> {
    let to = to.join("cgroup.procs");
    match std::fs::write(&to, pid.to_string()) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(false),
        Err(error) => Err(error).context(|| format!("move {pid} to {}", to.display())),
    }
}
