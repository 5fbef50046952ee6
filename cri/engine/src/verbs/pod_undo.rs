//! How each effect on a pod is taken back, from its record alone: used by failed runs, by stop
//! and remove, and by whoever finds a pod whose maker has died.

use super::PodAt;
use super::create_container::CREATE_CONTAINER;
use super::run_pod::RUN_POD;
use crate::blocking::blocking;
use crate::config::Takeover;
use crate::dirs;
use crate::error::{Context, Error, Kind, Result};
use crate::groups;
use crate::id::PodId;
use crate::ports::{Answer, Refusal, Shim};
use crate::steps::{NotUndone, run_step};
use crate::table::{Container, Shared};
use rrun_shim_protocol::Request;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// How often what could not be undone is tried again at least.
const SELDOM: Duration = Duration::from_secs(300);
/// How long an answer of the shim may take when a stop of the pod waits for it.
const HURRY: Duration = Duration::from_secs(1);

/// Removes the scope of a pod's shim, with what the shim has left in it; a group that shims share
/// stays.
pub(crate) async fn remove_shim_scope(engine: &Shared, id: &PodId) -> Result<()> {
    let group = groups::of_shim(&engine.config, id)?;
    if groups::scope(&group).is_none() {
        return Ok(());
    }
    engine.end_group(&group).await
}

impl PodAt {
    /// The control group of its shim.
    pub(crate) fn shim_group(&self) -> Result<String> {
        groups::of_shim(&self.engine.config, &self.pod.id)
    }

    /// The connection to the shim.
    pub(crate) fn connected(&self) -> Result<Arc<dyn Shim>> {
        self.pod.shim().ok_or_else(|| Error::new(Kind::Unavailable, "the pod's shim is gone"))
    }

    /// A request to the shim and its answer, which is not waited for long when the pod is to be
    /// stopped: what hangs on a dead file system must keep nobody from that.
    ///
    /// # Errors
    /// `Timeout` then: the shim may do it yet.
    pub(crate) async fn ask(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        let shim = self.connected()?;
        tokio::select! {
            biased;
            answer = shim.call(request, fds) => answer,
            error = self.stopped_meanwhile() => Err(error.into()),
        }
    }

    /// Lasts until a stop of the pod has waited long enough for what is under way.
    pub(crate) async fn stopped_meanwhile(&self) -> Error {
        self.pod.until_a_stop_waits().await;
        tokio::time::sleep(HURRY).await;
        Error::new(Kind::Timeout, "the pod is stopped before its shim has answered")
    }

    pub(crate) async fn remove_run_dir(&self) -> Result<()> {
        let run = self.pod.dirs.run.clone();
        blocking(move || dirs::remove_at_once(&run)).await?;
        self.delete(&self.pod.dirs.run).await;
        Ok(())
    }

    pub(crate) async fn remove_state_dir(&self) -> Result<()> {
        let state = self.pod.dirs.state.clone();
        self.pod.disk.run(move || dirs::remove_at_once(&state)).await?;
        self.delete(&self.pod.dirs.state).await;
        Ok(())
    }

    /// Deletes what was removed. Only a daemon is there long enough that nobody need wait for it.
    async fn delete(&self, folder: &Path) {
        let folder = folder.to_owned();
        let delete = move || {
            dirs::delete(&folder);
            Ok(())
        };
        // A span of its own: the step is over before.
        let behind = tracing::debug_span!(parent: None, "deletion", pod = %self.pod.id);
        let deleted = behind.in_scope(|| self.pod.disk.push(delete));
        if !matches!(self.engine.config.takeover, Takeover::Owner(_)) {
            // The log says what is left behind; a disk that hangs is not waited for any longer.
            let _ = deleted.await;
        }
    }

    pub(crate) async fn remove_files(&self) -> Result<()> {
        let files = self.pod.dirs.files();
        self.pod.disk.run(move || dirs::remove_all(&files)).await
    }

    /// Kills what is in the pod's group if the group is ours, and removes it. Another's group is
    /// removed by whoever made it.
    pub(crate) async fn remove_cgroup(&self) -> Result<()> {
        let record = self.pod.record();
        match record.own_cgroup {
            true => self.engine.end_group(&record.cgroup).await,
            false => self.engine.end_group(&groups::of_reaper(&record)).await,
        }
    }

    pub(crate) async fn kill_shim(&self) -> Result<()> {
        self.pod.set_shim(None);
        self.engine.ports.shims.kill(&self.pod.dirs.run).await?;
        remove_shim_scope(&self.engine, &self.pod.id).await
    }

    pub(crate) async fn unpin(&self) -> Result<()> {
        match &self.pod.record().netns {
            Some(netns) => self.engine.ports.host.unpin(netns).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn detach_network(&self) -> Result<()> {
        match &self.pod.record().netns {
            Some(_) => self.engine.ports.network.del(&self.pod.id).await.context(|| "network"),
            None => Ok(()),
        }
    }

    /// Puts on record what could not be undone of a pod that could not be made, and tries again
    /// after a while: nobody but us knows of it.
    pub(crate) async fn keep_not_undone(&self, not_undone: &NotUndone, again: Duration) {
        for (step, error) in not_undone {
            tracing::warn!(pod = %self.pod.id, step, %error, "not undone");
        }
        if not_undone.is_empty() {
            return;
        }
        let not_undone =
            not_undone.iter().map(|(step, error)| ((*step).to_owned(), error.to_string()));
        let not_undone: Vec<_> = not_undone.collect();
        let keep = self.pod.record.change(|record| record.not_undone = not_undone);
        if let Err(error) = run_step("engine.run-pod.not-undone", keep).await {
            tracing::warn!(pod = %self.pod.id, %error, "what was not undone is not on record");
        }
        self.undo_later(again);
    }

    fn undo_later(&self, after: Duration) {
        let at = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let again = at.clone();
            let span = at.span("RunPodSandbox.undo");
            let undo = async move {
                let not_undone = RUN_POD.undo(&again).await;
                again.keep_not_undone(&not_undone, (after * 2).min(SELDOM)).await;
            };
            at.pod.queue.push(undo.instrument(span));
        });
    }

    /// Begins to take back again what could be neither made nor taken back in this pod, and waits for
    /// it so long: nobody need wait for one that hangs.
    pub(crate) async fn undo_half_made_beside(&self, limit: Duration) {
        let (at, counted) = (self.clone(), self.pod.making());
        let undo = async move {
            // What cannot be taken back now either is in the log, and is kept.
            let _ = at.undo_half_made().await;
            drop(counted);
        };
        let undo = tokio::spawn(undo.in_current_span());
        let _ = tokio::time::timeout(limit, undo).await;
    }

    /// Tries again to take back what could be neither made nor taken back in this pod.
    pub(crate) async fn undo_half_made(&self) -> Result<()> {
        let mut first = Ok(());
        for container in self.pod.take_half_made() {
            let at = self.with(&container);
            let span = at.span("CreateContainer.undo");
            let not_undone = CREATE_CONTAINER.undo(&at).instrument(span).await;
            first = first.and(self.keep_half_made(&container, not_undone));
        }
        first
    }

    /// Keeps a container of which something is `not_undone`, for [`PodAt::undo_half_made`].
    pub(crate) fn keep_half_made(
        &self,
        container: &Arc<Container>,
        not_undone: NotUndone,
    ) -> Result<()> {
        let mut first = Ok(());
        for (step, error) in not_undone {
            tracing::warn!(container = %container.id, step, %error, "not undone");
            first = first.and(Err(error.context(format!("take back container {}", container.id))));
        }
        if first.is_err() {
            self.pod.keep_half_made(container);
        }
        first
    }
}
