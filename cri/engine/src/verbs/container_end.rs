//! How containers end: StopContainer, and an end by itself.

use super::{ContainerAt, PodAt};
use crate::blocking::blocking;
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::id::Owner;
use crate::phase::ContainerPhase;
use crate::ports::Moment;
use crate::status::ContainerExit;
use crate::steps::run_step;
use crate::table::Shared;
use rrun_shim_protocol::{Exit, ExitReason, Reply, Request, exit_record};
use rrun_sys::time;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// How long an end may take to be seen after everything of a container was killed: what hangs in
/// the kernel longer is told to the caller.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops a container and waits until that is on record.
pub(crate) async fn stop(
    engine: &Arc<Shared>,
    owner: &Owner,
    id: &str,
    grace: Duration,
) -> Result<()> {
    let (pod, container) = match engine.table.container(owner, id) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) => return Err(error.context("stop container")),
    };
    let what = format!("stop container {}", container.config.name);
    let at = PodAt { engine: Arc::clone(engine), pod }.with(&container);
    // In a task of its own, beside the pod's queue: a long grace must not keep other verbs
    // waiting, a second stop may shorten it, and a client that goes away leaves the end on record.
    let span = at.span("StopContainer");
    let task = tokio::spawn(async move { at.stop(grace).await }.instrument(span));
    task.await.unwrap_or_else(|error| Err(Error::internal(error.to_string()))).context(|| what)
}

/// The reason of what has ended with the boot that it ran in.
pub(crate) const REBOOTED: &str = "Rebooted";

impl ContainerAt {
    async fn stop(&self, grace: Duration) -> Result<()> {
        let record = self.container.record();
        if record.exit.is_some() {
            return Ok(());
        }
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let signal = record.stop_signal;
        match self.ask_stop(signal, grace_ms).await {
            Ok(exit) => self.queue_end(exit),
            // The end of the shim is the end of the container: the pod's watch sees to that.
            Err(error) if error.kind() == Kind::Unavailable => {}
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        match tokio::time::timeout(PATIENCE, self.container.ended()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(Kind::Timeout, "its end is not seen")),
        }
    }

    async fn ask_stop(&self, signal: i32, grace_ms: u64) -> Result<Exit> {
        let shim = self.at.connected()?;
        let container = self.container.id.to_string();
        let stop = shim.call(Request::Stop { container, signal, grace_ms }, Vec::new());
        let stop = async { stop.await.map_err(Error::from) };
        match run_step("engine.stop-container.stop", stop).await? {
            (Reply::Exited(exit), _) => Ok(exit),
            (other, _) => Err(Error::internal(format!("shim said {other:?}"))),
        }
    }

    /// Puts an end on record after what the pod is busy with.
    pub(crate) fn queue_end(&self, exit: Exit) {
        let (at, span) = (self.clone(), self.span("ContainerEnd"));
        let end = async move { ended(&at, container_exit(exit)).await };
        self.at.pod.queue.push(end.instrument(span));
    }

    /// Has its shim kill it, beside the pod's queue: one that does not die keeps nothing else of the
    /// pod waiting. Without a shim it is left to [`ContainerAt::kill`].
    ///
    /// # Errors
    /// `Timeout` when its shim hangs, or when it has not ended.
    pub(crate) async fn kill_beside(&self) -> Result<()> {
        if self.container.record().exit.is_some() || self.at.pod.shim().is_none() {
            return Ok(());
        }
        let killed = tokio::select! {
            biased;
            killed = self.ask_stop(9, 0) => killed,
            error = self.at.stopped_meanwhile() => Err(error),
        };
        match killed {
            Ok(exit) => self.queue_end(exit),
            Err(error) if error.kind() == Kind::Timeout => return Err(error),
            Err(error) => tracing::debug!(container = %self.container.id, %error, "kill"),
        }
        Ok(())
    }

    /// Kills a container from within the pod's queue, and puts its end on record. Works without a
    /// shim.
    ///
    /// # Errors
    /// `Timeout` when its shim hangs, or when it has not ended and the pod is to be stopped: the
    /// container is left as it is.
    pub(crate) async fn kill(&self) -> Result<()> {
        let killed = tokio::select! {
            biased;
            killed = self.kill_by_shim() => killed,
            error = self.at.stopped_meanwhile() => Err(error),
        };
        match killed {
            Err(error) if error.kind() == Kind::Unavailable => {
                self.at.shim_lost().await;
                self.kill_by_shim().await
            }
            other => other,
        }
    }

    /// # Errors
    /// `Unavailable` or `Timeout` when its shim has gone or hangs, and nobody has found out yet.
    pub(crate) async fn kill_by_shim(&self) -> Result<()> {
        let record = self.container.record();
        if record.exit.is_some() {
            return Ok(());
        }
        let no_shim = self.at.pod.shim().is_none();
        let exit = match self.ask_stop(9, 0).await {
            Ok(exit) => container_exit(exit),
            Err(error) if !no_shim && of_the_shim(&error) => return Err(error),
            Err(error) => {
                tracing::debug!(container = %self.container.id, %error, "killing without a shim");
                self.at.engine.ports.host.kill_group(&record.cgroup).await?;
                self.found_end("Killed").await
            }
        };
        ended(self, exit).await;
        Ok(())
    }

    /// The end that the shim wrote down before it went; else that which the kernel still tells;
    /// else 137 for `reason`.
    pub(crate) async fn found_end(&self, reason: &str) -> ContainerExit {
        let (run, id) = (self.at.pod.dirs.run.clone(), self.container.id.clone());
        let read = blocking(move || {
            exit_record::read(&run, id.as_str()).context(|| format!("exit record of {id}"))
        });
        match read.await {
            Ok(Some((_, exit))) => return container_exit(exit),
            Ok(None) => {}
            Err(error) => tracing::warn!(container = %self.container.id, %error, "exit record"),
        }
        let code = match self.container.pidfd() {
            Some(pidfd) => self.at.engine.ports.host.exit_code(&pidfd).await,
            None => None,
        };
        let (code, reason) = match code {
            Some(0) => (0, "Completed"),
            // SIGKILL is how it was ended here.
            Some(137) => (137, reason),
            Some(code) => (code, "Error"),
            // Nobody can have killed what a reboot has ended.
            None if reason == REBOOTED => (255, reason),
            None => (137, reason),
        };
        ContainerExit { code, at: time::now(), reason: reason.to_owned(), message: String::new() }
    }
}

/// The shim has not answered: nothing is known of what it was asked for.
pub(crate) fn of_the_shim(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

/// An end in the CRI's words.
pub(crate) fn container_exit(exit: Exit) -> ContainerExit {
    let reason = match exit.reason {
        ExitReason::OutOfMemory => "OOMKilled",
        ExitReason::StartError => "StartError",
        ExitReason::Ended | ExitReason::Timeout if exit.code == 0 => "Completed",
        ExitReason::Ended | ExitReason::Timeout => "Error",
    };
    let message = match exit.output_lost {
        lost if lost > 0 && exit.message.is_empty() => {
            format!("{lost} bytes of output are missing in the log, which was full or too slow")
        }
        _ => exit.message,
    };
    ContainerExit { code: exit.code, at: exit.at, reason: reason.into(), message }
}

/// Puts an end on record and tells it; the first one counts. Only within the pod's queue.
pub(crate) async fn ended(at: &ContainerAt, exit: ContainerExit) {
    if at.container.record().exit.is_some() {
        return;
    }
    at.note_start_before_end().await;
    at.container.set_pipes(None);
    at.container.set_pidfd(None);
    let change = |record: &mut crate::record::ContainerRecord| {
        record.phase = ContainerPhase::Exited;
        record.exit = Some(exit);
        record.pid = 0;
    };
    // The shim's own exit record stays: until this is on disk, it is read again after a restart.
    let note = async { at.container.record.note(change).map(drop) };
    if let Err(error) = run_step("engine.end-container.exited", note).await {
        tracing::warn!(container = %at.container.id, %error, "its end is not on record");
    }
    at.note_to_plugins(Moment::StopContainer).await;
    at.at.tell(EventKind::Stopped, Some(&at.container.id));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_gets_the_reason_that_the_kubelet_shows() {
        let reason =
            |code, reason| container_exit(Exit { code, at: 1, reason, ..Exit::default() }).reason;
        assert_eq!(reason(0, ExitReason::Ended), "Completed");
        assert_eq!(reason(3, ExitReason::Ended), "Error");
        assert_eq!(reason(137, ExitReason::OutOfMemory), "OOMKilled");
        assert_eq!(reason(128, ExitReason::StartError), "StartError");
    }
}
