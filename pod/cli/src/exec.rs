//! `rrun exec`: a command in a container.

use crate::args;
use crate::context::Context;
use crate::runtime::{alongside, reach};
use crate::streaming;
use crate::terminal::Changed;
use anyhow::{Context as _, Result, anyhow, bail};
use rrun_cri_api::{Cri, v1};
use rrun_pod::supervise::Entry;
use rrun_pod::supervise::reach::Reached;
use rrun_pod::translate::labels;
use std::process::ExitCode;

/// As podman has it: a command could not be begun, for a reason of ours.
pub const NOT_BEGUN: u8 = 125;

/// The exit code of what was to have one of its own.
pub fn or_not_begun(done: Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        crate::tell(&error);
        ExitCode::from(NOT_BEGUN)
    })
}

/// Runs the command; its exit code is ours.
pub async fn exec(context: &Context, args: args::Exec) -> Result<ExitCode> {
    let (entry, container) = target(context, &args.pod, args.container.as_deref()).await?;
    let pod = args.pod.clone();
    let done = alongside(context, &entry, execute(context, &entry, &container, args));
    done.await.with_context(|| format!("exec {pod}"))
}

async fn execute(
    context: &Context,
    entry: &Entry,
    container: &str,
    args: args::Exec,
) -> Result<ExitCode> {
    let Reached { cri, locked } = reach(context, entry).await?;
    let id = running(&*cri, entry.uid.as_str(), container).await?;
    let request = v1::ExecRequest {
        container_id: id,
        cmd: args.command,
        tty: args.tty,
        stdin: args.stdin,
        stdout: true,
        stderr: !args.tty,
    };
    let url = cri.exec(request).await.map_err(|status| anyhow!("{}", status.message()))?.url;
    let connection = streaming::connect(&url).await.with_context(|| format!("exec: {url}"))?;
    let raw = if args.tty && args.stdin { Changed::raw() } else { None };
    let code = streaming::converse(connection, args.stdin, args.tty).await;
    drop((raw, locked));
    Ok(ExitCode::from(code?))
}

/// A pod, and the name of the container in it that is meant: the first, where none is named.
pub async fn target(
    context: &Context,
    pod: &str,
    container: Option<&str>,
) -> Result<(Entry, String)> {
    let entry = context.store.find(pod).await?;
    let spec = entry.pod()?.spec;
    let name = match container {
        Some(name) if spec.find(name).is_none() && !is_ephemeral(&entry, name) => {
            bail!("pod {pod}: container {name}: not found");
        }
        Some(name) => name.to_owned(),
        None => spec.containers.first().context("the pod has no containers")?.name.clone(),
    };
    Ok((entry, name))
}

/// Whether an ephemeral container of the pod is called so.
pub fn is_ephemeral(entry: &Entry, name: &str) -> bool {
    let added = entry.state.as_ref().map(|state| &state.ephemeral);
    added.is_some_and(|added| added.iter().any(|added| added.name == name))
}

/// The id of the run of a container that is going on.
pub async fn running(cri: &dyn Cri, uid: &str, container: &str) -> Result<String> {
    let of = [(labels::POD_UID, uid), (labels::CONTAINER_NAME, container)];
    let label_selector = of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let state = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 };
    let filter = v1::ContainerFilter { label_selector, state: Some(state), ..Default::default() };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    let found = cri.list_containers(request).await?.containers.into_iter().next();
    found.map(|found| found.id).with_context(|| format!("container {container}: it does not run"))
}
