//! The verb `run`.

use crate::cli::{Global, Run};
use crate::delete;
use crate::descriptors::Given;
use crate::log::Log;
use crate::wait::Forwarded;
use crate::{console, create, hooks, start};
use rrun_runtime::Result;
use std::path::Path;

/// Creates and starts a container; unless detached, waits for its end, deletes it, and gives the
/// exit code of its program.
pub fn run(called: (&Global, &Given), options: &Run, log: &Log) -> Result<u8> {
    let root = &called.0.root;
    let id = &options.create.id;
    let mut child = create::create(called, &options.create, !options.detach, log)?;
    if options.detach {
        return started(root, options, log).map(|()| 0);
    }
    let forwarded = Forwarded::take()?;
    // Before the start: the program finds its terminal as it will be.
    let relay = console::relay(&mut child)?;
    started(root, options, log)?;
    let code = forwarded.wait(child.pidfd(), relay)?;
    if !options.keep {
        let folder = delete::claim(root, id, false)?;
        let record = folder.read()?;
        delete::release(&folder, &record)?;
        hooks::stopped(&record, log);
    }
    Ok(code)
}

/// A container that cannot start is not left behind.
fn started(root: &Path, options: &Run, log: &Log) -> Result<()> {
    let id = &options.create.id;
    let started = start::start(root, id);
    if started.is_err()
        && let Ok(Some(record)) = delete::delete(root, id, true)
    {
        hooks::stopped(&record, log);
    }
    started
}
