//! Control groups: made, killed, removed and read, on v1, hybrid and v2.
//!
//! Plain file writes instead of a library such as cgroups-rs: a container's child joins its
//! groups itself, through descriptors that its parent opened before the clone, or is cloned into
//! them by CLONE_INTO_CGROUP. Such a library joins by pid, after the clone, from the parent, and
//! moving a running process costs the kernel a grace period for each hierarchy.

mod layout;
pub mod stats;

pub use layout::{Hierarchy, Layout, Mode};

use crate::plan::{CgroupDir, Cgroups};
use crate::{Error, Kind, Result};
use nix::unistd::Pid;

/// Makes the directories and writes the values, in order; what is there already is taken as it
/// is. Steps `runtime.create.cgroup-v1` and `runtime.create.cgroup-v2`.
///
/// # Errors
/// The file and the kernel's answer; what was made stays, for [`remove`].
pub fn make(groups: &Cgroups) -> Result<()> {
    let _ = groups;
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// Kills every process in the groups and below: `cgroup.kill` where a unified directory is among
/// them, else freeze, signal all, thaw, until nothing is left. Groups that are gone are done.
///
/// # Errors
/// The file and the kernel's answer.
pub fn kill(groups: &Cgroups) -> Result<()> {
    let _ = groups;
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// Removes the directories with those nested in them. Directories that are gone are done; one
/// that is busy is tried again for a short while, because a dying process leaves its group a
/// little after its parent has reaped it. Step `runtime.delete.cgroup`.
///
/// # Errors
/// `EBUSY` when processes are left, naming the directory.
pub fn remove(dirs: &[CgroupDir]) -> Result<()> {
    let _ = dirs;
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// The processes in the groups and below, seen from the caller.
///
/// # Errors
/// What the kernel says; groups that are gone have no processes.
pub fn processes(groups: &Cgroups) -> Result<Vec<Pid>> {
    let _ = groups;
    Err(Error::new(Kind::Kernel, "not there yet"))
}
