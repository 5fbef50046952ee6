//! `rrun manifests`: the pods of a folder of manifests, as a kubelet has its static pods.
//!
//! One process runs all of them, over one runtime. What it knows it finds again on record: after its
//! death the pods go on, and the next one takes them up. A changed file is another pod, which begins
//! when the one before has ended; a file that cannot be read, or is being written, changes nothing. What
//! has failed is tried again, later each time.

mod folder;
mod kept;
mod retry;

use crate::args;
use crate::context::Context;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use folder::Changes;
use kept::Keeper;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The folder is looked at this often, whatever the kernel tells of it: the kubelet's
/// `fileCheckFrequency`.
const RESCAN: Duration = Duration::from_secs(20);

/// Runs the pods of the folder until this process is told to end. They go on then.
pub async fn manifests(context: &Context, args: &args::Manifests) -> Result<ExitCode> {
    let configured = &context.config.manifests;
    let folder = args.dir.as_ref().unwrap_or(configured);
    if folder.as_os_str().is_empty() {
        terminal::tell("manifests is empty in the configuration: there is no folder to look at");
        return Ok(ExitCode::SUCCESS);
    }
    let folder = std::path::absolute(folder)?;
    if context.endpoint.is_some() {
        bail!("the pods of a folder are run by the runtime in this process, not at an endpoint");
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let lock = context.store.lock_manifests().await.context("lock the folder of manifests")?;
    let Some(_lock) = lock else { bail!("another rrun manifests runs") };
    let mut changes = Changes::of(&folder);
    let mut keeper = Keeper::open(context, &args.process).await?;
    loop {
        changes.watch_what_is_there();
        keeper.bring_up_to_date(folder::read(&folder, |name| changes.is_written_to(name))).await;
        let retry = keeper.next_retry();
        tokio::select! {
            () = changes.next() => {}
            () = retry => {}
            () = tokio::time::sleep(RESCAN) => rrun_sys::heap::trim(),
            () = keeper.pod_ended() => {}
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}
