//! Removing groups.

use crate::plan::CgroupDir;
use crate::{Context, Result};
use rrun_sys::step;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// How often a busy group is tried again, a millisecond apart.
const TRIES: u32 = 50;

/// Removes the directories with those nested in them. Directories that are gone are done; one
/// that is busy is tried again for up to 50 ms, because a dying process leaves its group a little
/// after its parent has reaped it. Step `runtime.delete.cgroup`.
///
/// # Errors
/// `EBUSY` when processes are left, naming the directory.
pub fn remove(dirs: &[CgroupDir]) -> Result<()> {
    step::only("runtime.delete.cgroup", || {
        let mut result = Ok(());
        for dir in dirs {
            let removed = remove_tree(&dir.path);
            result = result.and(removed.doing(|| format!("remove {}", dir.path.display())));
        }
        result
    })
}

fn remove_tree(dir: &Path) -> Result<()> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < TRIES => {
                // Processes, or groups below: both are EBUSY.
                if !remove_nested(dir)? {
                    std::thread::sleep(Duration::from_millis(1));
                    tries += 1;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes the groups below; true if there were any.
fn remove_nested(dir: &Path) -> Result<bool> {
    let mut any = false;
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            any = true;
            remove_tree(&entry.path())?;
        }
    }
    Ok(any)
}
