//! The verbs `pause` and `resume`.

use crate::id::Id;
use crate::invalid;
use crate::record::Folder;
use crate::status::Status;
use rrun_runtime::{Context, Result, cgroup};
use std::path::Path;

/// Stops every process of a container where it is.
pub fn pause(root: &Path, id: &Id) -> Result<()> {
    let freeze = || {
        let folder = Folder::open(root, id)?;
        let record = folder.read()?;
        record.check_groups()?;
        match Status::of(&folder, &record) {
            Status::Created | Status::Running => cgroup::freeze(&record.groups),
            status => Err(invalid(format!("cannot pause a container that is {status}"))),
        }
    };
    freeze().context(|| format!("pause {id}"))
}

/// Lets a paused container go on.
pub fn resume(root: &Path, id: &Id) -> Result<()> {
    let thaw = || {
        let folder = Folder::open(root, id)?;
        let record = folder.read()?;
        record.check_groups()?;
        match Status::of(&folder, &record) {
            Status::Paused => cgroup::thaw(&record.groups),
            status => Err(invalid(format!("cannot resume a container that is {status}"))),
        }
    };
    thaw().context(|| format!("resume {id}"))
}
