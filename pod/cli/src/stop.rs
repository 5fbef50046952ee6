//! `rrun stop` and `rrun rm`: by the process that runs the pod, else by this one.

use crate::context::Context;
use crate::runtime::Runtime;
use anyhow::{Result, bail};
use rrun_pod::supervise::control::{self, Request};
use rrun_pod::supervise::rotate::Limits;
use rrun_pod::supervise::{Entry, LockedPod, supervise};
use std::process::ExitCode;

/// Stops a pod and waits until it has ended.
pub async fn stop(context: &Context, pod: &str, grace: Option<u32>) -> Result<ExitCode> {
    let entry = context.store.find(pod)?;
    match context.store.lock_existing(&entry).await? {
        None => control::ask(&context.store, &entry.uid, Request::Stop(grace)).await?,
        Some(pod) if pod.entry.phase().is_terminal() => {}
        Some(pod) => end(context, pod, grace).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes over a pod that nobody supervises, only to end it.
async fn end(context: &Context, pod: LockedPod, grace: Option<u32>) -> Result<()> {
    let runtime = Runtime::open(context, &pod.entry).await?;
    let attended = runtime.attend(context, &pod)?;
    attended.handle.stop(grace);
    let supervision = runtime.supervision(&context.logs(&pod.entry), Limits::default());
    let ended = supervise(pod, attended.handle, attended.requests, supervision).await;
    let done = if ended.remove { runtime.forget(ended.pod).await } else { Ok(()) };
    for one in ended.asked {
        one.answer(&done).await;
    }
    Ok(done?)
}

/// Removes a pod; one that runs only with `force`.
pub async fn remove(context: &Context, pod: &str, force: bool) -> Result<ExitCode> {
    let entry = context.store.find(pod)?;
    let Some(pod) = context.store.lock_existing(&entry).await? else {
        refuse_running(&entry, force)?;
        control::ask(&context.store, &entry.uid, Request::Remove).await?;
        return Ok(ExitCode::SUCCESS);
    };
    if !pod.entry.phase().is_terminal() {
        refuse_running(&entry, force)?;
    }
    let runtime = Runtime::open(context, &pod.entry).await?;
    runtime.forget(pod).await?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_running(entry: &Entry, force: bool) -> Result<()> {
    if !force {
        bail!("pod {}: it runs: stop it first, or use --force", entry.full_name());
    }
    Ok(())
}
