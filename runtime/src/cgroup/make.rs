//! Making groups and opening them for those who join.

use super::{missing, remove};
use crate::plan::{CgroupDir, CgroupWrite, Cgroups};
use crate::{Context, Error, Kind, Result};
use nix::unistd::Pid;
use rrun_sys::step::{self, Steps};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes groups that others live below, and writes their values, in order; what is there already
/// is taken as it is. Steps `runtime.create.cgroup-v1` and `runtime.create.cgroup-v2`. In v2, the controllers
/// that the directories above offer are enabled for them on the way.
///
/// # Errors
/// The file and the kernel's answer; what was made is taken back.
pub fn make(groups: &Cgroups) -> Result<()> {
    let mut steps = Steps::default();
    make_all(groups, Purpose::Parent, &mut steps)?;
    steps.commit();
    Ok(())
}

/// Makes the groups of one container and writes their values, for a process that is brought into them
/// by [`place`]; nobody may be in them. Steps and undo as in [`crate::run::spawn`].
///
/// # Errors
/// The file and the kernel's answer.
pub fn create(groups: &Cgroups, steps: &mut Steps<Error>) -> Result<()> {
    make_all(groups, Purpose::Create, steps)
}

/// Whose groups are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Those that others live below: a pod's.
    Parent,
    /// A container's: nobody else is in them.
    Create,
    /// Those of one more process in a container.
    Exec,
}

/// Groups that a child is about to enter, opened.
pub(crate) struct OpenGroups {
    /// Path and open `tasks` of each v1 group. The right to join is checked when it is opened.
    pub(crate) tasks: Vec<(String, OwnedFd)>,
    /// The directory to be born in.
    pub(crate) unified: Option<OwnedFd>,
}

/// Makes the groups and opens them. Those that somebody else has the child placed into are his.
pub(crate) fn enter(
    groups: &Cgroups,
    purpose: Purpose,
    steps: &mut Steps<Error>,
) -> Result<OpenGroups> {
    let mut joined = OpenGroups { tasks: Vec::with_capacity(groups.dirs.len()), unified: None };
    if groups.asked {
        return Ok(joined);
    }
    make_all(groups, purpose, steps)?;
    for dir in &groups.dirs {
        let context = || format!("open {}", dir.path.display());
        if dir.unified {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_DIRECTORY);
            joined.unified = Some(options.open(&dir.path).context(context)?.into());
        } else {
            let tasks = dir.path.join("tasks");
            let file = OpenOptions::new().write(true).open(&tasks).context(context)?;
            joined.tasks.push((tasks.display().to_string(), file.into()));
        }
    }
    Ok(joined)
}

/// Writes the values to groups that are there and replaces their device filter: the change of a
/// container that is created or runs ([`super::Resources::plan`]). Step `runtime.update.cgroup`.
///
/// # Errors
/// The file and the kernel's answer; what was written before it stays.
pub fn update(groups: &Cgroups) -> Result<()> {
    let dirs: Vec<&CgroupDir> = groups.dirs.iter().collect();
    step::run("runtime.update.cgroup", || {
        apply(groups, &dirs, rrun_sys::bpf::replace_device_filter)
    })
}

/// Completes groups that systemd has made in some of the hierarchies: the directories that it has
/// not made are made, and all values are written.
///
/// # Errors
/// `NotFound` when none of the directories is there; the file and the kernel's answer. What was
/// made stays.
pub(crate) fn complete(groups: &Cgroups) -> Result<()> {
    let dirs: Vec<&CgroupDir> = groups.dirs.iter().collect();
    if let Some(first) = dirs.first()
        && dirs.iter().all(|dir| !dir.path.exists())
    {
        let words = format!("{} is not where systemd keeps the group", first.path.display());
        return Err(Error::new(Kind::NotFound, words));
    }
    for dir in dirs.iter().filter(|dir| dir.unified) {
        // Those that systemd does not know.
        enable_controllers(&dir.path).context(|| format!("make {}", dir.path.display()))?;
    }
    make_dirs(groups, &dirs, Purpose::Parent, &Made::default())
}

/// Brings a process into groups that systemd has made for it, once they are complete.
///
/// # Errors
/// As [`complete`].
pub fn join(groups: &Cgroups, pid: Pid) -> Result<()> {
    complete(groups)?;
    place(groups, pid)
}

/// Brings a process into groups that are there.
///
/// # Errors
/// The file and the kernel's answer.
pub fn place(groups: &Cgroups, pid: Pid) -> Result<()> {
    for dir in &groups.dirs {
        let procs = dir.path.join("cgroup.procs");
        std::fs::write(&procs, pid.to_string())
            .context(|| format!("write {pid} to {}", procs.display()))?;
    }
    Ok(())
}

fn make_all(groups: &Cgroups, purpose: Purpose, steps: &mut Steps<Error>) -> Result<()> {
    let (v1, v2) = match purpose {
        Purpose::Parent | Purpose::Create => {
            ("runtime.create.cgroup-v1", "runtime.create.cgroup-v2")
        }
        Purpose::Exec => ("runtime.exec.cgroup-v1", "runtime.exec.cgroup-v2"),
    };
    for (name, unified) in [(v1, false), (v2, true)] {
        let dirs: Vec<&CgroupDir> = groups.dirs.iter().filter(|d| d.unified == unified).collect();
        if dirs.is_empty() {
            continue;
        }
        // An exec's v1 groups are its container's, with all that is written there.
        if purpose == Purpose::Exec && dirs.iter().all(|dir| dir.path.exists()) {
            continue;
        }
        // What is there already is not ours to take back, and somebody may be faster than us.
        let made = Made::default();
        let undo = made.clone();
        steps.run(
            name,
            || make_dirs(groups, &dirs, purpose, &made),
            move || remove(&undo.lock().unwrap_or_else(PoisonError::into_inner)),
        )?;
    }
    Ok(())
}

/// The directories that were not there before.
type Made = Arc<Mutex<Vec<CgroupDir>>>;

fn make_dirs(groups: &Cgroups, dirs: &[&CgroupDir], purpose: Purpose, made: &Made) -> Result<()> {
    for dir in dirs {
        let context = || format!("make {}", dir.path.display());
        if dir.unified && purpose != Purpose::Exec && !dir.path.exists() {
            enable_controllers(&dir.path).context(context)?;
        }
        if make_dir(dir).context(context)? {
            made.lock().unwrap_or_else(PoisonError::into_inner).push((*dir).clone());
        } else if purpose == Purpose::Create {
            missing::check_empty(&dir.path)?;
        }
        if purpose == Purpose::Create && missing::may_freeze(groups, dir) {
            missing::check_thawed(&dir.path, dir.unified)?;
        }
        if dir.inherit_cpuset {
            inherit_cpuset(&dir.path).context(context)?;
        }
    }
    apply(groups, dirs, rrun_sys::bpf::attach_device_filter)
}

/// Writes the values of these directories, in order, and sets the device filter.
fn apply(
    groups: &Cgroups,
    dirs: &[&CgroupDir],
    set_filter: impl Fn(BorrowedFd<'_>, &[u8]) -> nix::Result<()>,
) -> Result<()> {
    let mut last = Last::default();
    for write in &groups.writes {
        let dir = groups.dirs.get(usize::from(write.dir)).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("{}: no group {}", write.file, write.dir))
        })?;
        if dirs.contains(&dir) {
            last.write(dir, write)?;
        }
    }
    if let Some(filter) = &groups.device_filter
        && let Some(dir) = dirs.iter().find(|dir| dir.unified)
    {
        let context = || format!("device filter of {}", dir.path.display());
        let directory = File::open(&dir.path).context(context)?;
        set_filter(directory.as_fd(), filter).context(context)?;
    }
    Ok(())
}

/// Makes a directory and those above it; true if it was not there.
fn make_dir(dir: &CgroupDir) -> Result<bool> {
    let made = DirBuilder::new().mode(0o755).create(&dir.path);
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let path = dir.path.parent().ok_or(error)?.to_owned();
            make_dir(&CgroupDir { path, ..*dir })?;
            if dir.inherit_cpuset
                && let Some(parent) = dir.path.parent()
            {
                inherit_cpuset(parent)?;
            }
            make_dir(dir)
        }
        Err(error) => Err(error.into()),
    }
}

/// Copies the parent's values, which a cpuset needs before it takes a task, where there are none.
/// Whoever has made the parent may not have come to its values yet: it is given them first.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = std::fs::read(dir.join(file)).context(|| file)?;
        if own.trim_ascii().is_empty() {
            let mut value = std::fs::read(parent.join(file)).context(|| file)?;
            if value.trim_ascii().is_empty() {
                // The root of the hierarchy has all, so this comes to an end.
                inherit_cpuset(parent)?;
                value = std::fs::read(parent.join(file)).context(|| file)?;
            }
            std::fs::write(dir.join(file), value).context(|| file)?;
        }
    }
    Ok(())
}

/// The file that was written last. The rules of v1's devices are a dozen values for one file, and to
/// open it takes longer than to write one.
#[derive(Default)]
struct Last(Option<(PathBuf, File)>);

impl Last {
    fn write(&mut self, dir: &CgroupDir, write: &CgroupWrite) -> Result<()> {
        let path = dir.path.join(&write.file);
        let context = || format!("write {:?} to {}", write.value, path.display());
        if self.0.as_ref().is_none_or(|(last, _)| *last != path) {
            self.0 = match OpenOptions::new().write(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound && write.optional => None,
                opened => Some((path.clone(), opened.context(context)?)),
            };
        }
        let Some((_, file)) = &mut self.0 else { return Ok(()) };
        // One write: each is a command of its own.
        file.write_all(write.value.as_bytes()).context(context)
    }
}

/// Enables for a v2 directory what those above it offer: a controller works in a group only when
/// every ancestor hands it down. A directory with processes in it cannot (`EBUSY`), and need not
/// if nobody asks for a limit: the write of the limit says so then.
fn enable_controllers(dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    if !parent.exists() {
        enable_controllers(parent)?;
        let path = parent.to_owned();
        make_dir(&CgroupDir { path, unified: true, inherit_cpuset: false })?;
    }
    for above in ancestors_in_hierarchy(parent) {
        let offered = std::fs::read_to_string(above.join("cgroup.controllers"))?;
        let enabled = std::fs::read_to_string(above.join("cgroup.subtree_control"))?;
        let enabled: Vec<&str> = enabled.split_whitespace().collect();
        for controller in offered.split_whitespace().filter(|name| !enabled.contains(name)) {
            let _ = std::fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

/// The directory and those above it up to the root of the hierarchy, root first.
fn ancestors_in_hierarchy(dir: &Path) -> Vec<&Path> {
    let within = |path: &&Path| path.join("cgroup.controllers").exists();
    let mut all: Vec<&Path> = dir.ancestors().take_while(within).collect();
    all.reverse();
    all
}
