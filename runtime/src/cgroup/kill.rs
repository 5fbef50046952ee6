//! Killing and signalling what is in groups.

use super::members;
use crate::plan::Cgroups;
use crate::{Context, Result};
use nix::fcntl::OFlag;
use nix::unistd::Pid;
use rrun_sys::step;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// How often a v1 group is looked through for processes that were not signalled yet.
const ROUNDS: u32 = 16;

/// Kills every process in the groups and below: `cgroup.kill` where a unified directory is among
/// them, else freeze, signal all, thaw. What a v1 freezer holds is let go, because it does not die
/// before. Groups that are gone are done. The processes die a little later. Step
/// `runtime.kill.cgroup`.
///
/// # Errors
/// The file and the kernel's answer; processes of a PID namespace that is not seen from here,
/// which only `cgroup.kill` reaches.
pub fn kill(groups: &Cgroups) -> Result<()> {
    step::run("runtime.kill.cgroup", || kill_all(groups))
}

fn kill_all(groups: &Cgroups) -> Result<()> {
    let freezer = groups.dirs.iter().filter(|dir| !dir.unified);
    let freezer = freezer.map(|dir| dir.path.join("freezer.state"));
    let freezer = freezer.filter(|path| path.exists()).collect::<Vec<PathBuf>>();
    let killed = match groups.dirs.iter().find(|dir| dir.unified) {
        Some(unified) => write_existing(&unified.path.join("cgroup.kill"), "1"),
        None => kill_v1(groups, &freezer),
    };
    for dir in freezer.iter().filter_map(|state| state.parent()) {
        thaw_tree(dir)?;
    }
    killed
}

/// Thaws a v1 group and those below it: one that was frozen by itself (a container in the container
/// has been paused) stays so when only its parent is thawed.
fn thaw_tree(dir: &Path) -> Result<()> {
    let thawed = members::for_each_group(dir, &mut |group| {
        // The kernel looks at all below a group that is written to, which takes long where there
        // are thousands.
        let mut frozen = String::new();
        if let Some(mut file) = members::open_file(group, "freezer.self_freezing", OFlag::O_RDONLY)?
        {
            unless_gone(file.read_to_string(&mut frozen).map(drop))?;
        }
        match members::open_file(group, "freezer.state", OFlag::O_WRONLY)? {
            Some(mut file) if frozen.trim() != "0" => unless_gone(file.write_all(b"THAWED")),
            _ => Ok(()),
        }
    });
    thawed.context(|| format!("write THAWED to freezer.state in {}", dir.display()))
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if members::is_gone(&error) => Ok(()),
        done => done,
    }
}

fn kill_v1(groups: &Cgroups, freezer: &[PathBuf]) -> Result<()> {
    // Any hierarchy tells the processes; freezing needs its own.
    let Some(dir) = groups.dirs.first() else { return Ok(()) };
    // Frozen tasks fork no more, so that one look at all of them is enough; without a freezer
    // look again until nothing new is found.
    for state in freezer {
        write_existing(state, "FROZEN")?;
    }
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let all = members::all(&dir.path)?;
        let fresh: Vec<i32> = all.into_iter().filter(|pid| !seen.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        members::signal(&dir.path, &fresh, libc::SIGKILL)?;
        seen.extend(fresh);
    }
    Ok(())
}

/// Sends a signal to every process in the groups and below, once.
///
/// # Errors
/// What the kernel says; processes of a PID namespace that is not seen from here.
pub fn signal(groups: &Cgroups, signal: i32) -> Result<()> {
    let Some(dir) = told_by(groups) else { return Ok(()) };
    members::signal(dir, &members::all(dir)?, signal)
}

/// The processes in the groups and below that the caller sees.
///
/// # Errors
/// What the kernel says; groups that are gone have no processes.
pub fn processes(groups: &Cgroups) -> Result<Vec<Pid>> {
    let all = told_by(groups).map_or_else(|| Ok(Vec::new()), members::all)?;
    Ok(all.into_iter().filter(|pid| *pid > 0).map(Pid::from_raw).collect())
}

/// The directory that is asked for processes; any hierarchy tells the same.
fn told_by(groups: &Cgroups) -> Option<&Path> {
    let unified = groups.dirs.iter().find(|dir| dir.unified);
    unified.or(groups.dirs.first()).map(|dir| dir.path.as_path())
}

fn write_existing(path: &Path, value: &str) -> Result<()> {
    match std::fs::OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        file => {
            let context = || format!("write {value} to {}", path.display());
            let mut file = file.context(context)?;
            unless_gone(file.write_all(value.as_bytes())).context(context)
        }
    }
}
