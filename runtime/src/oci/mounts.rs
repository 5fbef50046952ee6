//! The verb `mounts`, as crun has it.

use crate::cli::{MountChange, Mounts};
use crate::config::CGROUP_ROOT;
use crate::id::Id;
use crate::invalid;
use crate::record::{Folder, Record};
use crate::status::{self, Status};
use oci_spec::runtime::Mount;
use rrun_runtime::planning::{self, Host};
use rrun_runtime::{Context, Result, run};
use rrun_sys::step;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The longest list that is read.
const LIST_MAX: u64 = 64 << 20;

/// Adds or removes what the file lists, as `mounts` of a configuration does.
pub fn mounts(root: &Path, options: &Mounts) -> Result<()> {
    match &options.change {
        MountChange::Add { id, file } => add(root, id, file).context(|| format!("mounts add {id}")),
        MountChange::Remove { id, file } => {
            remove(root, id, file).context(|| format!("mounts remove {id}"))
        }
    }
}

fn add(root: &Path, id: &Id, file: &Path) -> Result<()> {
    let (record, init) = running(root, id)?;
    let host = Host::detect(Path::new(CGROUP_ROOT))?;
    let entries = read(file)?;
    let planned = planning::added_mounts(entries, &record.bundle, &record.groups, &host)?;
    step::run("oci.mounts.add", || run::mounts::add(&planned, init.as_fd()))
}

/// Of each only the destination is looked at. The last one goes first.
fn remove(root: &Path, id: &Id, file: &Path) -> Result<()> {
    let (_, init) = running(root, id)?;
    let mut targets = Vec::new();
    for entry in read(file)?.iter().rev() {
        targets.push(planning::mount_target(entry)?);
    }
    step::run("oci.mounts.remove", || run::mounts::remove(&targets, init.as_fd()))
}

fn running(root: &Path, id: &Id) -> Result<(Record, OwnedFd)> {
    let folder = Folder::open(root, id)?;
    let record = folder.read()?;
    match Status::of(&folder, &record) {
        Status::Created | Status::Running | Status::Paused => {}
        status => return Err(invalid(format!("cannot change mounts of one that is {status}"))),
    }
    let init = status::live(&record)?;
    Ok((record, init))
}

/// An array of mounts.
fn read(file: &Path) -> Result<Vec<Mount>> {
    let context = || format!("read {}", file.display());
    let json = rrun_sys::in_root::read_regular_of_host(file, LIST_MAX).context(context)?;
    serde_json::from_slice(&json).map_err(|error| invalid(error.to_string())).context(context)
}
