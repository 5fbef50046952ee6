//! Attach, and the container's log.

use super::{pipe, running};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Owner;
use crate::ports::Shim;
use crate::session::{AttachRequest, Handle, Session};
use crate::status::ContainerExit;
use crate::steps::run_step;
use crate::table::{Container, Shared};
use crate::verbs::span_of;
use async_trait::async_trait;
use rrun_blocking::Place;
use rrun_shim_protocol::{Reply, Request};
use std::sync::Arc;
use tracing::Instrument;

fn connected(shim: Option<Arc<dyn Shim>>) -> Result<Arc<dyn Shim>> {
    shim.ok_or_else(|| Error::new(Kind::Unavailable, "the pod's shim is gone"))
}

/// Attaches to the streams of a running container.
pub(crate) async fn attach(
    engine: &Shared,
    owner: &Owner,
    id: &str,
    wanted: AttachRequest,
) -> Result<Session> {
    let what = || format!("attach to {id}");
    let (pod, container) = running(engine, owner, id).context(what)?;
    let shim = connected(pod.shim()).context(what)?;
    let place = engine.for_attached.take(&pod.id, None).await.context(what)?;
    let tty = container.config.tty;
    // A terminal has one output.
    let wants_stderr = wanted.stderr && !tty;
    let wants_stdin = wanted.stdin && (container.config.stdin || tty);
    let (mut stdout, mut stderr, mut theirs) = (None, None, Vec::new());
    for (want, ours) in [(wanted.stdout, &mut stdout), (wants_stderr, &mut stderr)] {
        if want {
            let (read, write) = pipe()?;
            *ours = Some(read);
            theirs.push(write);
        }
    }
    let request = Request::Attach {
        container: container.id.to_string(),
        stdout: wanted.stdout,
        stderr: wants_stderr,
        stdin: wants_stdin,
    };
    let call = async { shim.call(request, theirs).await.map_err(Error::from) };
    let call = run_step("engine.attach.attach", call);
    let (reply, mut fds) =
        call.instrument(span_of("Attach", &pod, &container)).await.context(what)?;
    let Reply::Attached = reply else {
        return Err(Error::internal(format!("shim said {reply:?}")).context(what()));
    };
    let handle = Box::new(AttachHandle { shim, container, _place: place });
    Ok(Session { stdin: fds.pop().filter(|_| wants_stdin), stdout, stderr, handle })
}

struct AttachHandle {
    shim: Arc<dyn Shim>,
    container: Arc<Container>,
    _place: Place,
}

#[async_trait]
impl Handle for AttachHandle {
    async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        if self.container.config.tty {
            let container = self.container.id.to_string();
            self.shim.call(Request::Resize { container, rows, columns }, Vec::new()).await?;
        }
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        let config = &self.container.config;
        if config.stdin && config.stdin_once && !config.tty {
            self.container.close_stdin();
            let container = self.container.id.to_string();
            self.shim.call(Request::CloseStdin { container }, Vec::new()).await?;
        }
        Ok(())
    }

    async fn wait(&self) -> Result<ContainerExit> {
        let record = self.container.ended().await;
        record.exit.clone().ok_or_else(|| Error::internal("its end is not on record"))
    }
}

/// Opens the log of a running container anew.
pub(crate) async fn reopen_log(engine: &Shared, owner: &Owner, id: &str) -> Result<()> {
    let what = || format!("reopen log of {id}");
    let (pod, container) = running(engine, owner, id).context(what)?;
    let shim = connected(pod.shim()).context(what)?;
    let request = Request::ReopenLog { container: container.id.to_string() };
    let call = async { shim.call(request, Vec::new()).await.map_err(Error::from) };
    let call = run_step("engine.reopen-log.reopen", call);
    call.instrument(span_of("ReopenContainerLog", &pod, &container)).await.context(what)?;
    Ok(())
}
