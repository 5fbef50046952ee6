//! Processes beside a container's own, and its streams: exec, attach, port-forward, log.

mod attach;
mod exec;
mod exec_sync;

pub(crate) use attach::{attach, reopen_log};
pub(crate) use exec::exec;
pub(crate) use exec_sync::exec_sync;

use crate::blocking::blocking;
use crate::error::{Context, Error, Result};
use crate::id::Owner;
use crate::phase::{ContainerPhase, PodPhase};
use crate::session::Forward;
use crate::table::{Container, Pod, Shared};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tracing::Instrument;

/// A container that runs.
fn running(engine: &Shared, owner: &Owner, id: &str) -> Result<(Arc<Pod>, Arc<Container>)> {
    let (pod, container) = engine.table.container(owner, id)?;
    let phase = container.record().phase;
    if phase != ContainerPhase::Running {
        let phase = format!("{phase:?}").to_lowercase();
        let name = &container.config.name;
        return Err(Error::precondition(format!("container {name} is {phase}, not running")));
    }
    Ok((pod, container))
}

/// A pipe: read end, write end.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(std::io::Error::from)
        .context(|| "make a pipe")
}

/// The way for one connection into the network of a ready pod.
pub(crate) async fn forward(engine: &Shared, owner: &Owner, id: &str) -> Result<Forward> {
    let pod = engine.table.pod(owner, id)?;
    let place = engine.for_forwarded.take(&pod.id, None).await?;
    let record = pod.record();
    if record.phase != PodPhase::Ready {
        return Err(Error::precondition(format!("pod {id} is not ready")));
    }
    let Some(path) = record.netns.clone() else { return Ok(Forward { netns: None, place }) };
    let span = tracing::info_span!("verb", name = "PortForward", pod = %pod.id);
    let step = tracing::debug_span!(parent: &span, "step", name = "engine.port-forward.netns");
    let open = move || {
        let file = std::fs::File::open(&path).context(|| format!("open {}", path.display()))?;
        Ok(OwnedFd::from(file))
    };
    Ok(Forward { netns: Some(blocking(open).instrument(step).await?), place })
}
