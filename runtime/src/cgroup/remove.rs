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

/// As [`remove`], without waiting for what is busy: false when something is. What could be removed
/// is removed. The step is the caller's, as all tries together are one change.
///
/// # Errors
/// Any other than `EBUSY`, naming the directory.
pub fn try_remove(dirs: &[CgroupDir]) -> Result<bool> {
    let mut all = Ok(true);
    for dir in dirs {
        match remove_tree(&dir.path, &mut 0) {
            Ok(()) => {}
            Err(error) if is_busy(&error) => {
                all = all.map(|_| false);
            }
            failed => {
                let failed = failed.context(|| format!("remove {}", dir.path.display()));
                all = all.and(failed.map(|()| true));
            }
        }
    }
    all
}

fn remove_tree(dir: &Path, tries: &mut u32) -> io::Result<()> {
    loop {
        match try_remove_tree(dir) {
            Err(error) if is_busy(&error) && *tries > 0 => {}
            done => return done,
        }
        *tries -= 1;
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn try_remove_tree(dir: &Path) -> io::Result<()> {
    match remove_group(dir) {
        // Processes, or groups below: both are EBUSY.
        Err(error) if is_busy(&error) => {}
        done => return done,
    }
    // By descriptors and not by paths: a container nests groups deeper than the longest path.
    let mut leave = |parent: BorrowedFd<'_>, name: &CStr| -> io::Result<()> {
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT | Errno::EBUSY) => Ok(()),
            done => Ok(done?),
        }
    };
    match tree::visit_directories(dir, &mut |_| Ok(()), &mut leave) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => remove_group(dir),
    }
}

/// One that is gone is done.
fn remove_group(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}
