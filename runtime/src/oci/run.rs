//! The verb `run`.

use crate::cli::{Global, Run};
use crate::create::{self, Until};
use crate::delete;
use crate::descriptors::Given;
use crate::log::Log;
use crate::wait::Forwarded;
use crate::{console, hooks};
use rrun_runtime::Result;
use rrun_runtime::run::Child;

/// Creates and starts a container; unless detached, waits for its end, deletes it, and gives the
/// exit code of its program.
pub fn run(called: (&Global, &Given), options: &Run, log: &Log) -> Result<u8> {
    let mut waits = None;
    let foreground = !options.detach;
    let mut prepared = |child: &mut Child| {
        if foreground {
            // The program finds its terminal as it will be.
            waits = Some((Forwarded::take()?, console::relay(child)?));
        }
        Ok(())
    };
    let until = Until::Running { foreground, prepared: &mut prepared };
    let (child, record) = create::create(called, &options.create, until, log)?;
    let Some((forwarded, relay)) = waits else { return Ok(0) };
    let code = forwarded.wait(child.pidfd(), relay)?;
    if !options.keep {
        let folder = delete::claim(&called.0.root, &options.create.id, false)?;
        delete::release(&folder, &record)?;
        hooks::stopped(&record, log);
    }
    Ok(code)
}
