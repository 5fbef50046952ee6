//! Removing groups.

use crate::plan::CgroupDir;
use crate::{Context, Result};
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use rrun_sys::{step, tree};
use std::ffi::CStr;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// How often busy groups are tried again, a millisecond apart, all of them together.
const TRIES: u32 = 50;
/// The same for who has nothing else to do: on a busy machine a killed process takes longer to die.
const PATIENT_TRIES: u32 = 2000;

/// Removes the directories with those nested in them. Directories that are gone are done; busy
/// ones are tried again for up to 50 ms, because a dying process leaves its group a little after
/// its parent has reaped it. Step `runtime.delete.cgroup`.
///
/// Blocks for that time: who must not, calls [`try_remove`] and comes back later; who waits for
/// nothing else calls [`remove_patiently`].
///
/// # Errors
/// `EBUSY` when processes are left, naming the directory.
pub fn remove(dirs: &[CgroupDir]) -> Result<()> {
    remove_in(TRIES, dirs)
}

/// As [`remove`], for up to two seconds: processes that nobody can wait for may have been killed just
/// now.
///
/// # Errors
/// As [`remove`].
pub fn remove_patiently(dirs: &[CgroupDir]) -> Result<()> {
    remove_in(PATIENT_TRIES, dirs)
}

fn remove_in(mut tries: u32, dirs: &[CgroupDir]) -> Result<()> {
    step::run("runtime.delete.cgroup", || {
        let mut result = Ok(());
        for dir in dirs {
            let removed = remove_tree(&dir.path, &mut tries);
            result = result.and(removed.context(|| format!("remove {}", dir.path.display())));
        }
        result
    })
}

/// What a try to remove groups has come to, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tried {
    /// They are gone.
    Gone,
    /// Something is busy.
    Busy,
    /// More groups are nested in them than were to be looked at.
    Many,
}

/// As [`remove`], without waiting for what is busy: false when something is. What could be removed
/// is removed. The step is the caller's, as all tries together are one change.
///
/// # Errors
/// Any other than `EBUSY`, naming the directory.
pub fn try_remove(dirs: &[CgroupDir]) -> Result<bool> {
    Ok(try_remove_few(dirs, usize::MAX)? == Tried::Gone)
}

/// As [`try_remove`], for who has no time: of the groups nested in the directories it looks at no
/// more than `most`. Each takes the kernel up to a millisecond.
///
/// # Errors
/// As [`try_remove`].
pub fn try_remove_few(dirs: &[CgroupDir], mut most: usize) -> Result<Tried> {
    let mut all = Ok(Tried::Gone);
    for dir in dirs {
        let tried = try_remove_tree(&dir.path, &mut most);
        match tried.context(|| format!("remove {}", dir.path.display())) {
            Ok(tried) => all = all.map(|worst| tried.max(worst)),
            Err(error) => all = all.and(Err(error)),
        }
    }
    all
}

fn remove_tree(dir: &Path, tries: &mut u32) -> io::Result<()> {
    loop {
        let mut all = usize::MAX;
        match try_remove_tree(dir, &mut all)? {
            Tried::Gone => return Ok(()),
            Tried::Busy | Tried::Many if *tries == 0 => return Err(Errno::EBUSY.into()),
            Tried::Busy | Tried::Many => {}
        }
        *tries -= 1;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Looks at no more than `most` groups below `dir`, and lowers that by how many it looks at.
fn try_remove_tree(dir: &Path, most: &mut usize) -> io::Result<Tried> {
    // What is busy has processes, or groups below.
    if remove_group(dir)? == Tried::Gone {
        return Ok(Tried::Gone);
    }
    let (mut is_top, mut are_many) = (true, false);
    let mut enter = |_: BorrowedFd<'_>| -> io::Result<()> {
        if std::mem::take(&mut is_top) {
            return Ok(());
        }
        match most.checked_sub(1) {
            Some(left) => *most = left,
            None => {
                are_many = true;
                return Err(ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    };
    // By descriptors and not by paths: a container nests groups deeper than the longest path.
    let mut leave = |parent: BorrowedFd<'_>, name: &CStr| -> io::Result<()> {
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT | Errno::EBUSY) => Ok(()),
            done => Ok(done?),
        }
    };
    match tree::visit_directories(dir, &mut enter, &mut leave) {
        Err(_) if are_many => Ok(Tried::Many),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => remove_group(dir),
    }
}

/// One that is gone is done.
fn remove_group(dir: &Path) -> io::Result<Tried> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Tried::Gone),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(Tried::Busy),
        done => done.map(|()| Tried::Gone),
    }
}
