//! Exec: one more process, with its streams in the caller's hands.

use super::{pipe, running};
use crate::blocking::blocking;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Owner;
use crate::ports::{Refusal, Shim};
use crate::session::{ExecRequest, Handle, Session};
use crate::sessions::Entered;
use crate::spec::ExecTemplate;
use crate::status::ContainerExit;
use crate::steps::run_step;
use crate::table::{Container, Pod, Shared};
use crate::verbs::container_end::container_exit;
use crate::verbs::span_of;
use async_trait::async_trait;
use rrun_blocking::Place;
use rrun_shim_protocol::{Exec, Exit, Request};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tracing::Instrument;

/// An exec that runs, and is killed with its tree when it is dropped before its end.
pub(super) struct RunningExec {
    kill: KillOnDrop,
    exit: watch::Receiver<Option<Exit>>,
}

impl RunningExec {
    /// Waits for its end.
    pub(super) async fn exit(&self) -> Result<Exit> {
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        exit.ok_or_else(|| Error::new(Kind::Unavailable, "the pod's shim is gone"))
    }
}

impl Drop for RunningExec {
    fn drop(&mut self) {
        // Its end is told, or there is no shim any more.
        self.kill.armed = self.exit.borrow().is_none() && self.exit.has_changed().is_ok();
    }
}

/// Has an exec that was asked for killed with its tree, without waiting: the shim hears of it after
/// it has heard of the exec.
struct KillOnDrop {
    shim: Arc<dyn Shim>,
    exec: u64,
    armed: bool,
    /// Until it is killed.
    entered: Option<Entered>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (shim, exec) = (Arc::clone(&self.shim), self.exec);
        let entered = self.entered.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(refusal) = shim.call(Request::KillExec { exec }, Vec::new()).await {
                    tracing::debug!(error = %refusal.error, "kill exec");
                }
                drop(entered);
            });
        }
    }
}

/// What an exec is started with: our ends and its ends of the streams.
pub(super) struct Started {
    pub(super) exec: RunningExec,
    pub(super) console: Option<OwnedFd>,
}

/// Starts an exec whose ends of stdin, stdout and stderr are given.
pub(super) async fn start(
    engine: &Arc<Shared>,
    (pod, container): (&Arc<Pod>, &Arc<Container>),
    request: &ExecRequest,
    stdio: [Option<OwnedFd>; 3],
    timeout: Option<Duration>,
) -> Result<Started, Refusal> {
    let entered = container.sessions.enter()?;
    let template = template(engine, pod, container).await?;
    let plan = engine.planner.exec(&template, request)?;
    let by_program = container.record().program.is_some();
    let process = by_program.then(|| template.process(request)).transpose()?;
    let number = pod.execs.fetch_add(1, Ordering::Relaxed);
    let exec = Exec {
        exec: number,
        container: container.id.to_string(),
        plan,
        stdio: [stdio[0].is_some(), stdio[1].is_some(), stdio[2].is_some()],
        timeout_ms: timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
        process,
    };
    let gone = || Error::new(Kind::Unavailable, "the pod's shim is gone");
    let shim = pod.shim().ok_or_else(gone)?;
    let mut kill =
        KillOnDrop { shim: Arc::clone(&shim), exec: number, armed: true, entered: Some(entered) };
    let running = async { Ok(shim.exec(exec, stdio.into_iter().flatten().collect()).await) };
    // A refusal has a code beside its error: it passes the step as a value.
    let running = run_step("engine.exec.start", running).await?;
    // A shim that was too slow may start it yet.
    let running =
        running.inspect_err(|refusal| kill.armed = refusal.error.kind() == Kind::Timeout)?;
    let exec = RunningExec { kill, exit: running.exit };
    Ok(Started { exec, console: running.console })
}

/// What execs in a container have in common, made at the first.
async fn template(
    engine: &Arc<Shared>,
    pod: &Arc<Pod>,
    container: &Arc<Container>,
) -> Result<Arc<ExecTemplate>> {
    if let Some(template) = container.template.get() {
        return Ok(Arc::clone(template));
    }
    let (engine, pod, row) = (Arc::clone(engine), Arc::clone(pod), Arc::clone(container));
    let made = blocking(move || {
        let (spec, bundle) = (pod.dirs.spec(&row.id), pod.dirs.bundle(&row.id));
        engine.planner.exec_template(&pod.config, &row.record(), (&spec, &bundle))
    });
    let made = Arc::new(made.await?);
    // Another exec may have been faster; both made the same.
    Ok(Arc::clone(container.template.get_or_init(|| made)))
}

/// Runs a command with its streams open.
pub(crate) async fn exec(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    request: ExecRequest,
) -> Result<Session> {
    let what = || format!("exec in {id}");
    if request.command.is_empty() {
        return Err(Error::invalid("no command given").context(what()));
    }
    let (pod, container) = running(engine, owner, id).context(what)?;
    let place = engine.for_commands.take(&pod.id, None).await.context(what)?;
    let mut ours: [Option<OwnedFd>; 3] = [None, None, None];
    let mut its: [Option<OwnedFd>; 3] = [None, None, None];
    if !request.tty {
        if request.stdin {
            let (read, write) = pipe()?;
            (its[0], ours[0]) = (Some(read), Some(write));
        }
        for (at, wanted) in [(1, request.stdout), (2, request.stderr)] {
            if wanted {
                let (read, write) = pipe()?;
                (ours[at], its[at]) = (Some(read), Some(write));
            }
        }
    }
    let start = start(engine, (&pod, &container), &request, its, None);
    let started = match start.instrument(span_of("Exec", &pod, &container)).await {
        Ok(started) => started,
        Err(Refusal { code: Some(code), error }) => return unexecutable(&request, code, &error),
        Err(refusal) => return Err(refusal.error.context(what())),
    };
    let [mut stdin, mut stdout, stderr] = ours;
    let mut terminal = None;
    if let Some(master) = started.console {
        let copy = || master.try_clone().context(|| "duplicate the terminal");
        stdin = request.stdin.then(copy).transpose()?;
        stdout = Some(copy()?);
        terminal = Some(master);
    }
    let handle = Box::new(ExecHandle { exec: started.exec, terminal, _place: place });
    Ok(Session { stdin, stdout, stderr, handle })
}

struct ExecHandle {
    exec: RunningExec,
    terminal: Option<OwnedFd>,
    _place: Place,
}

#[async_trait]
impl Handle for ExecHandle {
    async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        match &self.terminal {
            Some(master) => rrun_sys::pty::set_size(master.as_fd(), rows, columns)
                .map_err(std::io::Error::from)
                .context(|| "resize the terminal"),
            None => Ok(()),
        }
    }

    async fn close_stdin(&self) -> Result<()> {
        Ok(())
    }

    async fn wait(&self) -> Result<ContainerExit> {
        Ok(container_exit(self.exec.exit().await?))
    }
}

/// The end of a command that could not be executed: the message on stderr, and the code that a
/// shell would give.
struct Unexecutable(i32);

#[async_trait]
impl Handle for Unexecutable {
    async fn resize(&self, _: u16, _: u16) -> Result<()> {
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        Ok(())
    }

    async fn wait(&self) -> Result<ContainerExit> {
        let reason = "Error".to_owned();
        let (code, at) = (self.0, rrun_sys::time::now());
        Ok(ContainerExit { code, at, reason, message: String::new() })
    }
}

fn unexecutable(request: &ExecRequest, code: i32, error: &Error) -> Result<Session> {
    let (read, write) = pipe()?;
    // A pipe takes more than this at once.
    let message = format!("{error}\n");
    let line = &message.as_bytes()[..message.len().min(4096)];
    nix::unistd::write(&write, line)
        .map_err(std::io::Error::from)
        .context(|| "tell why the command cannot be executed")?;
    let (stdout, stderr) = if request.stderr { (None, Some(read)) } else { (Some(read), None) };
    Ok(Session { stdin: None, stdout, stderr, handle: Box::new(Unexecutable(code)) })
}
