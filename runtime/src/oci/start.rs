//! The verb `start`.

use crate::first_process::ProcessStart;
use crate::id::Id;
use crate::record::Folder;
use crate::status::Status;
use crate::{delete, hooks, invalid};
use rrun_runtime::{Context, Kind, Result, run};
use rrun_sys::step;
use std::os::fd::AsFd;
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
            let release = || run::start_socket::release(&folder.start_socket());
            // One that has said why it cannot go on is about to end, and is told of as ended from then on.
            step::run("oci.start.release", release).inspect_err(|error| {
                let init = record.init.filter(|_| error.kind() != Kind::NotFound);
                if let Some(init) = init.and_then(ProcessStart::open) {
                    let _ = delete::wait_for_end(init.as_fd());
                }
            })?;
            // One that fails ends the container, as runc has it.
            step::run("oci.start.hooks", || hooks::started(&record)).inspect_err(|_| {
                if let Some(init) = record.init.and_then(ProcessStart::open) {
                    let _ = delete::end_process(init.as_fd());
                }
            })
        }
        status => Err(invalid(format!("cannot start a container that is {status}"))),
    }
}
