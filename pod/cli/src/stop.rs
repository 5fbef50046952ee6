//! `rrun stop` and `rrun rm`: by the process that runs the pod, else by this one.

use crate::context::Context;
use crate::runtime::Runtime;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use rrun_pod::error::{Error, Kind};
use rrun_pod::ids::PodUid;
use rrun_pod::supervise::control::{self, Request};
use rrun_pod::supervise::rotate::Limits;
use rrun_pod::supervise::{Entry, LockedPod, supervise};
use std::process::ExitCode;

/// Stops a pod and waits until it has ended.
pub async fn stop(context: &Context, pod: &str, grace: Option<u32>) -> Result<ExitCode> {
    match stopped(context, pod, grace).await {
        // It has ended by itself, and its process with it, just when that was asked.
        Err(error) if is(&error, Kind::Cancelled) && has_ended(context, pod).await => {}
        done => done?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether an error is of this sort.
pub fn is(error: &anyhow::Error, kind: Kind) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == kind)
}

async fn has_ended(context: &Context, pod: &str) -> bool {
    context.store.find(pod).await.is_ok_and(|entry| entry.phase().is_terminal())
}

async fn stopped(context: &Context, pod: &str, grace: Option<u32>) -> Result<()> {
    if let Some(attended) = context.store.find_attended(pod).await {
        return ask(context, &attended.uid, Request::Stop(grace), pod).await;
    }
    let entry = context.store.find(pod).await?;
    match context.store.lock_existing(&entry).await? {
        None => ask(context, &entry.uid, Request::Stop(grace), pod).await,
        Some(pod) if pod.entry.phase().is_terminal() => Ok(()),
        Some(pod) => end(context, pod, grace).await,
    }
}

/// Takes over a pod that nobody supervises, only to end it.
async fn end(context: &Context, pod: LockedPod, grace: Option<u32>) -> Result<()> {
    let runtime = Runtime::open(context, &pod.entry).await?;
    let attended = runtime.attend(context, &pod).await?;
    attended.handle.stop(grace);
    let supervision = runtime.supervision(&context.logs(&pod.entry), Limits::default());
    let ended = supervise(pod, attended.handle, attended.requests, supervision).await;
    let (pod, remove) = (ended.pod, ended.remove);
    let work = async { if remove { runtime.forget(pod).await } else { Ok(()) } };
    Ok(control::answer_with(ended.asked, work).await?)
}

/// Removes a pod; one that runs only with `force`.
pub async fn remove(context: &Context, pod: &str, force: bool) -> Result<ExitCode> {
    if let Some(attended) = context.store.find_attended(pod).await {
        refuse_running(&attended.full_name, force)?;
        ask(context, &attended.uid, Request::Remove, pod).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let entry = context.store.find(pod).await?;
    let full_name = entry.full_name();
    let Some(locked) = context.store.lock_existing(&entry).await? else {
        refuse_running(&full_name, force)?;
        ask(context, &entry.uid, Request::Remove, pod).await?;
        return Ok(ExitCode::SUCCESS);
    };
    if !locked.entry.phase().is_terminal() {
        refuse_running(&full_name, force)?;
    }
    let runtime = Runtime::open(context, &locked.entry).await?;
    runtime.forget(locked).await?;
    Ok(ExitCode::SUCCESS)
}

/// Starts all containers of a pod again, and waits until those that ran have ended.
pub async fn restart(context: &Context, pod: &str) -> Result<ExitCode> {
    let uid = match context.store.find_attended(pod).await {
        Some(attended) => attended.uid,
        None => running(context, pod).await?.uid,
    };
    ask(context, &uid, Request::Restart, pod).await?;
    Ok(ExitCode::SUCCESS)
}

/// A pod that somebody runs.
pub async fn running(context: &Context, pod: &str) -> Result<Entry> {
    let entry = context.store.find(pod).await?;
    if entry.phase().is_terminal() {
        let phase = entry.phase().as_str();
        bail!("pod {}: it has ended ({phase})", entry.full_name());
    }
    if !context.store.is_locked(&entry).await {
        let with = "rrun apply or rrun run with its manifest goes on with it";
        bail!("pod {}: nobody runs it: {with}", entry.full_name());
    }
    Ok(entry)
}

/// Asks the process that runs the pod.
async fn ask(context: &Context, uid: &PodUid, request: Request, pod: &str) -> Result<()> {
    let verb = match &request {
        Request::Stop(_) => "stop",
        Request::Remove => "remove",
        Request::Apply(_) => "apply",
        Request::Debug(_) => "debug",
        Request::Restart => "restart",
    };
    let asked = control::ask(&context.store, uid, request, |words: &str| terminal::tell(words));
    asked.await.with_context(|| format!("{verb} {pod}"))
}

fn refuse_running(full_name: &str, force: bool) -> Result<()> {
    if !force {
        bail!("pod {full_name}: it runs: stop it first, or use --force");
    }
    Ok(())
}
