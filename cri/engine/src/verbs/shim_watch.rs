//! Watching a pod's shim: ends of containers, and its own.

use super::PodAt;
use super::container_end::ended;
use crate::error::{Kind, Result};
use crate::event::EventKind;
use crate::groups;
use crate::phase::PodPhase;
use crate::ports::{Dialled, Shim};
use crate::steps::run_step;
use rrun_shim_protocol::{Ask, ContainerReport, ContainerState, Event, Reply, Request};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::Instrument;

/// When a shim that hangs is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a shim that has run for a while may take to answer a greeting: one that hangs is asked
/// again later, and the start of the daemon waits for it.
const GREETING: Duration = Duration::from_secs(2);

/// Takes a connection into use and watches it.
pub(crate) fn adopt(at: &PodAt, dialled: Dialled) {
    at.pod.set_shim(Some(dialled.shim));
    let (at, mut events) = (at.clone(), dialled.events);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            at.shim_says(event);
        }
        let (lost, span) = (at.clone(), at.span("ShimLost"));
        at.pod.queue.push(async move { lost.shim_lost().await }.instrument(span));
    });
}

impl PodAt {
    fn shim_says(&self, event: Event) {
        match event {
            Event::Exited { container, exit } => {
                let all = self.engine.table.containers_of(&self.pod.id);
                // One that is not there yet is still in the making: its end is found when it is
                // made, or goes with it.
                if let Some(found) = all.iter().find(|c| c.id.as_str() == container) {
                    self.with(found).queue_end(exit);
                }
            }
            Event::Asks { container, pid, ask: Ask::Place } => {
                let at = self.clone();
                tokio::spawn(async move { at.place_container(container, pid).await });
            }
            Event::Asks { container, pid, ask: Ask::RunHooks } => {
                let at = self.clone();
                tokio::spawn(async move { at.run_create_hooks(container, pid).await });
            }
            Event::ExecExited { .. } => {}
        }
    }

    /// The connection has ended: dials again, for a shim that lives on after a broken connection.
    pub(crate) async fn shim_lost(&self) {
        if self.pod.shim().is_none() {
            // It was ended by a verb.
            return;
        }
        self.pod.set_shim(None);
        self.reconnect().await;
    }

    /// Dials the shim of a pod. Without one the pod ends, with what can still be told of its
    /// containers; with one that hangs it goes on, for its containers do.
    pub(crate) async fn reconnect(&self) {
        match self.connect().await {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Timeout => {
                tracing::warn!(pod = %self.pod.id, %error, "its shim hangs");
                self.reconnect_later();
            }
            Err(error) => {
                self.engine.counters.lose_shim();
                tracing::warn!(pod = %self.pod.id, %error, "its shim is gone");
                self.end_without_shim("ShimLost").await;
            }
        }
    }

    /// Lets what a shim that hangs may have done meanwhile come on record, once it is heard of
    /// again.
    pub(crate) fn reconnect_later(&self) {
        let at = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN).await;
            let (later, span) = (at.clone(), at.span("Reconnect"));
            at.pod.queue.push(async move { later.reconnect_now().await }.instrument(span));
        });
    }

    async fn reconnect_now(&self) {
        if !matches!(self.pod.record().phase, PodPhase::Ready | PodPhase::Ending) {
            return;
        }
        match self.pod.shim() {
            None => self.reconnect().await,
            Some(shim) => match self.reconcile_with(&shim).await {
                Err(error) if error.kind() == Kind::Timeout => self.reconnect_later(),
                // The end of the connection is seen to by its watch.
                _ => {}
            },
        }
    }

    /// Dials the shim and brings the records to what it tells.
    pub(crate) async fn connect(&self) -> Result<()> {
        let dialled = self.engine.ports.shims.dial(&self.pod.dirs.run, GREETING).await?;
        let shim = Arc::clone(&dialled.shim);
        adopt(self, dialled);
        self.reconcile_with(&shim).await
    }

    async fn reconcile_with(&self, shim: &Arc<dyn Shim>) -> Result<()> {
        if let (Reply::State(report), _) = shim.call(Request::State, Vec::new()).await? {
            for container in self.engine.table.containers_of(&self.pod.id) {
                let found = report.containers.iter().find(|c| c.id == container.id.as_str());
                self.reconcile(&container, found).await;
            }
        }
        Ok(())
    }

    async fn reconcile(
        &self,
        container: &Arc<crate::table::Container>,
        report: Option<&ContainerReport>,
    ) {
        let at = self.with(container);
        let record = container.record();
        if record.exit.is_some() || !record.phase.is_listed() {
            return;
        }
        match report.map(|report| (&report.state, report.pid)) {
            Some((ContainerState::Created, pid)) => {
                self.note_pid(container, pid);
                at.hold_pipes().await;
            }
            Some((ContainerState::Running { started_at }, pid)) => {
                self.note_pid(container, pid);
                at.hold_pipes().await;
                at.note_start(*started_at).await;
            }
            Some((ContainerState::Exited { started_at, exit }, _)) => {
                if *started_at != 0 {
                    at.note_start(*started_at).await;
                }
                ended(&at, super::container_end::container_exit(exit.clone())).await;
            }
            None => ended(&at, at.found_end("Unknown").await).await,
        }
    }

    fn note_pid(&self, container: &crate::table::Container, pid: Option<i32>) {
        if let Some(pid) = pid {
            container.set_pidfd(self.engine.ports.host.pidfd(pid));
        }
    }

    /// Ends a pod whose shim is gone, and tells it.
    pub(crate) async fn end_without_shim(&self, reason: &str) {
        let change = |record: &mut crate::record::PodRecord| {
            if record.phase == PodPhase::Ready {
                record.phase = PodPhase::Ending;
                record.reason = reason.to_owned();
            }
        };
        let ending = async { self.pod.record.note(change).map(drop) };
        if let Err(error) = run_step("engine.end-pod.ending", ending).await {
            tracing::warn!(pod = %self.pod.id, %error, "its end is not on record");
        }
        if let Err(error) = self.give_up_shim(reason).await {
            tracing::warn!(pod = %self.pod.id, %error, "not all of it could be killed");
        }
        self.tell(EventKind::Stopped, None);
    }

    /// Kills what is left of a pod, its shim first, and puts each container's end on record as
    /// well as it can be known. The rest of their output is logged when nobody can write it any
    /// more.
    pub(crate) async fn give_up_shim(&self, reason: &str) -> Result<()> {
        self.pod.set_shim(None);
        let kill = self.engine.ports.shims.kill_hung(&self.pod.dirs.run);
        let killed = run_step("engine.give-up.shim", kill).await;
        let killed = killed.and(run_step("engine.give-up.groups", self.kill_groups()).await);
        let containers = self.engine.table.containers_of(&self.pod.id).into_iter();
        // Each has a log of its own, which may hang.
        let mut ends = JoinSet::new();
        for container in containers.filter(|container| container.record().exit.is_none()) {
            let (at, reason) = (self.with(&container), reason.to_owned());
            let end = async move {
                let exit = at.found_end(&reason).await;
                at.log_rest().await;
                ended(&at, exit).await;
            };
            ends.spawn(end.in_current_span());
        }
        while let Some(end) = ends.join_next().await {
            if let Err(error) = end {
                tracing::error!(pod = %self.pod.id, %error, "an end is not on record");
            }
        }
        killed
    }

    /// Kills everything in the pod's groups; in another's group only what is ours.
    pub(crate) async fn kill_groups(&self) -> Result<()> {
        let record = self.pod.record();
        let host = &self.engine.ports.host;
        if record.own_cgroup {
            return host.kill_group(&record.cgroup).await;
        }
        host.kill_group(&groups::of_reaper(&record)).await?;
        for container in self.engine.table.containers_of(&self.pod.id) {
            host.kill_group(&container.record().cgroup).await?;
        }
        Ok(())
    }
}
