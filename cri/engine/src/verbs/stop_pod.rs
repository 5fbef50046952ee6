//! StopPodSandbox. Nothing of it is taken back: what fails is tried again by the next stop.

use super::PodAt;
use super::container_end::of_the_shim;
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::id::Owner;
use crate::phase::PodPhase;
use crate::ports::Moment;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use rrun_shim_protocol::{ContainerReport, ContainerState, Reply, Request};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument;

/// How long a shim may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a container may take to die after it was killed.
const DYING: Duration = Duration::from_secs(10);

pub(crate) struct StopPod {
    at: PodAt,
    /// Writes that the pod is being stopped, while its containers are killed.
    ending: Option<JoinHandle<()>>,
}

impl Verb for StopPod {
    type OnRecord = PodAt;

    fn on_record(&self) -> &PodAt {
        &self.at
    }
}

static STOP_POD: List<StopPod> = List {
    intent: &[],
    effects: &[
        Step { name: "engine.stop-pod.ending", apply: |stop| Box::pin(stop.ending()), undo: None },
        Step {
            name: "engine.stop-pod.making",
            apply: |stop| Box::pin(stop.end_of_making()),
            undo: None,
        },
        Step {
            name: "engine.stop-pod.containers",
            apply: |stop| Box::pin(stop.containers()),
            undo: None,
        },
        Step {
            name: "engine.stop-pod.plugins",
            apply: |stop| Box::pin(stop.tell_plugins()),
            undo: None,
        },
        Step {
            name: "engine.stop-pod.network",
            apply: |stop| Box::pin(stop.network()),
            undo: None,
        },
        Step { name: "engine.stop-pod.shim", apply: |stop| Box::pin(stop.shim()), undo: None },
        Step { name: "engine.stop-pod.netns", apply: |stop| Box::pin(stop.at.unpin()), undo: None },
        Step {
            name: "engine.stop-pod.half-made",
            apply: |stop| Box::pin(stop.at.undo_half_made()),
            undo: None,
        },
        Step {
            name: "engine.stop-pod.container-cgroups",
            apply: |stop| Box::pin(stop.container_cgroups()),
            undo: None,
        },
        Step {
            name: "engine.stop-pod.cgroup",
            apply: |stop| Box::pin(stop.at.remove_cgroup()),
            undo: None,
        },
        Step {
            name: "engine.stop-pod.stopped",
            apply: |stop| Box::pin(stop.stopped()),
            undo: None,
        },
    ],
};

/// Stops a pod with its containers.
pub(crate) async fn stop(engine: &Arc<Shared>, owner: &Owner, id: &str) -> Result<()> {
    let pod = match engine.table.pod(owner, id) {
        Ok(pod) => pod,
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) => return Err(error.context("stop pod")),
    };
    let what = format!("stop pod {}", pod.config.full_name());
    let at = PodAt { engine: Arc::clone(engine), pod };
    let (queue, waits) = (at.pod.queue.clone(), at.pod.stop_waits());
    let span = at.span("StopPodSandbox");
    let stop = async move {
        drop(waits);
        at.stop().await
    };
    queue.run(stop).instrument(span).await.context(|| what)
}

impl PodAt {
    /// Stops the pod from within its queue.
    pub(crate) async fn stop(&self) -> Result<()> {
        let before = self.pod.record().phase;
        if !matches!(before, PodPhase::Ready | PodPhase::Ending) {
            return Ok(());
        }
        let mut verb = StopPod { at: self.clone(), ending: None };
        STOP_POD.run(&mut verb).await.map_err(|(error, _)| error)?;
        if before == PodPhase::Ready {
            self.tell(EventKind::Stopped, None);
        }
        Ok(())
    }
}

impl StopPod {
    async fn ending(&mut self) -> Result<()> {
        let ending = self.at.pod.record.note(|record| record.phase = PodPhase::Ending)?;
        self.ending = Some(ending);
        Ok(())
    }

    /// What is being made will be one of the containers, or is taken back; in a hurry.
    async fn end_of_making(&self) -> Result<()> {
        let _waits = self.at.pod.stop_waits();
        // What waits for a disk that hangs finds no shim when it goes on, and is taken back.
        let _ = timeout(DYING, self.at.pod.nothing_is_made()).await;
        Ok(())
    }

    /// Kills them all; without the shim if that hangs, or one of them does.
    async fn containers(&self) -> Result<()> {
        let killed = tokio::select! {
            biased;
            killed = self.kill_containers() => killed,
            error = self.one_lives_on() => Err(error),
        };
        match killed {
            Err(error) if of_the_shim(&error) => {
                tracing::warn!(pod = %self.at.pod.id, %error, "going on without its shim");
                self.at.give_up_shim("ShimLost").await
            }
            other => other,
        }
    }

    async fn kill_containers(&self) -> Result<()> {
        let containers = self.at.engine.table.containers_of(&self.at.pod.id);
        let mut kills = tokio::task::JoinSet::new();
        for container in containers {
            let at = self.at.with(&container);
            let span = at.span("StopContainer");
            let kill = async move {
                let name = || format!("container {}", at.container.config.name);
                at.kill_by_shim().await.context(name)
            };
            kills.spawn(kill.instrument(span));
        }
        let mut first = Ok(());
        while let Some(done) = kills.join_next().await {
            let done = done.unwrap_or_else(|error| Err(Error::internal(error.to_string())));
            first = first.and(done);
        }
        first
    }

    /// Lasts until a container that was killed has not died in time, because it hangs in the kernel:
    /// nobody else is to wait for that. One that has ended may take its time for its log.
    async fn one_lives_on(&self) -> Error {
        loop {
            tokio::time::sleep(DYING).await;
            let Some(shim) = self.at.pod.shim() else { continue };
            let Ok((Reply::State(report), _)) = shim.call(Request::State, Vec::new()).await else {
                continue;
            };
            let lives = |container: &&ContainerReport| {
                !matches!(container.state, ContainerState::Exited { .. })
            };
            if let Some(container) = report.containers.iter().find(lives) {
                let message = format!("container {} is killed and not dead", container.id);
                return Error::new(Kind::Timeout, message);
            }
        }
    }

    async fn tell_plugins(&self) -> Result<()> {
        self.at.note_to_plugins(Moment::StopPod).await;
        Ok(())
    }

    /// A pod whose containers are dead may be found ready: it will be stopped again. One without its
    /// network may not.
    async fn network(&mut self) -> Result<()> {
        if let Some(ending) = self.ending.take() {
            let _ = ending.await;
        }
        self.at.detach_network().await
    }

    /// Ends the shim, which unpins its namespaces; one that does not answer is killed.
    async fn shim(&self) -> Result<()> {
        if let Some(shim) = self.at.pod.shim() {
            let asked = shim.call(Request::Shutdown, Vec::new());
            match timeout(PATIENCE, asked).await {
                Ok(Ok(_)) => {}
                Ok(Err(refusal)) => tracing::debug!(error = %refusal.error, "shim shutdown"),
                Err(_) => tracing::warn!(pod = %self.at.pod.id, "shim does not end, killing it"),
            }
        }
        self.at.kill_shim().await
    }

    async fn container_cgroups(&self) -> Result<()> {
        for container in self.at.engine.table.containers_of(&self.at.pod.id) {
            self.at.engine.end_group(&container.record().cgroup).await?;
        }
        Ok(())
    }

    async fn stopped(&self) -> Result<()> {
        let change = |record: &mut crate::record::PodRecord| {
            record.phase = PodPhase::Stopped;
            record.reaper = None;
        };
        self.at.pod.record.note(change).map(drop)
    }
}
