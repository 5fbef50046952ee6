//! The verb `start`.

use crate::id::Id;
use crate::invalid;
use crate::record::Folder;
use crate::status::Status;
use rrun_runtime::{Context, Result, run};
use rrun_sys::step;
use std::path::Path;

/// Lets a created container's program run; returns when it does.
pub fn start(root: &Path, id: &Id) -> Result<()> {
    open(root, id).context(|| format!("start {id}"))
}

fn open(root: &Path, id: &Id) -> Result<()> {
    let folder = Folder::open(root, id)?;
    let record = folder.read()?;
    match Status::of(&folder, &record) {
        Status::Created => {
            step::run("oci.start.release", || run::start_socket::release(&folder.start_socket()))
        }
        status => Err(invalid(format!("cannot start a container that is {status}"))),
    }
}
