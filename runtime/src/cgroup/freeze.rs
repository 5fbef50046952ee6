//! Stopping all processes of a group where they are, and letting them go on.

use super::members;
use crate::plan::Cgroups;
use crate::{Context, Error, Kind, Result};
use rrun_sys::step;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes may take to stop: one that hangs in a dead file system never does on v1.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a group is frozen.
enum Freezer {
    /// `cgroup.freeze`: a frozen process can still be killed.
    Unified(PathBuf),
    /// `freezer.state`: one that is killed dies when it is thawed.
    V1(PathBuf),
}

impl Freezer {
    fn of(groups: &Cgroups) -> Option<Freezer> {
        let unified = groups.dirs.iter().find(|dir| dir.unified).map(|dir| dir.path.clone());
        if let Some(dir) = unified.filter(|dir| dir.join("cgroup.freeze").exists()) {
            return Some(Freezer::Unified(dir));
        }
        let v1 = || groups.dirs.iter().filter(|dir| !dir.unified).map(|dir| &dir.path);
        // Looked at first where it is mounted by its name.
        let named = v1().filter(|path| is_named_freezer(path));
        let mut files = named.chain(v1()).map(|path| path.join("freezer.state"));
        files.find(|file| file.exists()).map(Freezer::V1)
    }

    fn set(&self, frozen: bool) -> Result<()> {
        let (path, value) = match (self, frozen) {
            (Freezer::Unified(dir), true) => (dir.join("cgroup.freeze"), "1"),
            (Freezer::Unified(dir), false) => (dir.join("cgroup.freeze"), "0"),
            (Freezer::V1(file), true) => (file.clone(), "FROZEN"),
            (Freezer::V1(file), false) => (file.clone(), "THAWED"),
        };
        std::fs::write(&path, value).context(|| format!("write {value} to {}", path.display()))
    }

    /// All of it stands still.
    fn is_frozen(&self) -> Result<bool> {
        let (path, frozen) = match self {
            Freezer::Unified(dir) => (dir.join("cgroup.events"), "frozen 1"),
            Freezer::V1(file) => (file.clone(), "FROZEN"),
        };
        match std::fs::read_to_string(&path) {
            Err(error) if members::is_gone(&error) => Ok(false),
            text => {
                let text = text.context(|| format!("read {}", path.display()))?;
                Ok(text.lines().any(|line| line == frozen))
            }
        }
    }
}

/// A group below `/freezer`, as hosts name the hierarchy.
pub(super) fn is_named_freezer(group: &Path) -> bool {
    group.components().any(|part| part.as_os_str() == "freezer")
}

/// Stops every process in the groups and below, and waits until all stand still: in the unified
/// hierarchy where the groups have a directory there, else in v1's freezer. Step
/// `runtime.pause.cgroup`. Blocks for up to 10 seconds.
///
/// # Errors
/// `Invalid` without a freezer; what the kernel says to its files; `Kernel` when a process does
/// not stop, and then all go on.
pub fn freeze(groups: &Cgroups) -> Result<()> {
    let freezer = Freezer::of(groups).ok_or_else(|| {
        Error::new(Kind::Invalid, "this host has no control group that freezes processes")
    })?;
    step::run("runtime.pause.cgroup", || {
        freezer.set(true)?;
        let until = Instant::now() + PATIENCE;
        while !freezer.is_frozen()? {
            if Instant::now() > until {
                freezer.set(false)?;
                return Err(Error::new(Kind::Kernel, "a process does not stop"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })
}

/// Lets every process in the groups go on. Groups that are gone, or cannot be frozen, are done.
/// Step `runtime.resume.cgroup`.
///
/// # Errors
/// What the kernel says to the freezer's file.
pub fn thaw(groups: &Cgroups) -> Result<()> {
    let Some(freezer) = Freezer::of(groups) else { return Ok(()) };
    step::run("runtime.resume.cgroup", || freezer.set(false))
}

/// The directory by which the groups are frozen, if they can be.
pub fn freezer(groups: &Cgroups) -> Option<PathBuf> {
    match Freezer::of(groups)? {
        Freezer::Unified(dir) => Some(dir),
        Freezer::V1(file) => file.parent().map(PathBuf::from),
    }
}

/// Whether all processes in the groups stand still because somebody wants it.
///
/// # Errors
/// What the kernel says to the freezer's file.
pub fn is_frozen(groups: &Cgroups) -> Result<bool> {
    Freezer::of(groups).map_or(Ok(false), |freezer| freezer.is_frozen())
}
