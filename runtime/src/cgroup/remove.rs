//! Removing groups.

use crate::plan::CgroupDir;
use crate::{Context, Result};
use rrun_sys::step;
use std::io::{self, ErrorKind};
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
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
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
        match std::fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // Processes, or groups below: both are EBUSY.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                if remove_nested(dir, tries)? {
                    continue;
                }
                if *tries == 0 {
                    return Err(error);
                }
                *tries -= 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes the groups below; true if there were any.
fn remove_nested(dir: &Path, tries: &mut u32) -> io::Result<bool> {
    let mut any = false;
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            any = true;
            remove_tree(&entry.path(), tries)?;
        }
    }
    Ok(any)
}
