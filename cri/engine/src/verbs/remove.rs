//! RemoveContainer and RemovePodSandbox: forward only, and tried again until nothing is left.

use super::{ContainerAt, PodAt};
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::id::Owner;
use crate::phase::{ContainerPhase, PodPhase};
use crate::ports::Moment;
use crate::steps::{List, Step, Verb};
use crate::table::Shared;
use std::sync::Arc;
use tracing::Instrument;

struct RemoveContainer {
    at: ContainerAt,
}

impl Verb for RemoveContainer {
    type OnRecord = ContainerAt;

    fn on_record(&self) -> &ContainerAt {
        &self.at
    }
}

/// The record goes last: whoever finds it after a crash goes on from the start.
static REMOVE_CONTAINER: List<RemoveContainer> = List {
    intent: &[],
    effects: &[
        Step {
            name: "engine.remove-container.kill",
            apply: |verb| Box::pin(verb.at.kill()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.plugins",
            apply: |verb| Box::pin(verb.tell_plugins()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.removing",
            apply: |verb| Box::pin(verb.at.removing()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.hooks",
            apply: |verb| Box::pin(verb.at.run_stop_hooks()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.init",
            apply: |verb| Box::pin(verb.at.remove_init()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.rootfs",
            apply: |verb| Box::pin(verb.at.release_rootfs()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.spec",
            apply: |verb| Box::pin(verb.at.remove_spec()),
            undo: None,
        },
        Step {
            name: "engine.remove-container.record",
            apply: |verb| Box::pin(verb.at.remove_record()),
            undo: None,
        },
    ],
};

impl RemoveContainer {
    async fn tell_plugins(&self) -> Result<()> {
        self.at.note_to_plugins(Moment::RemoveContainer).await;
        Ok(())
    }
}

struct RemovePod {
    at: PodAt,
}

impl Verb for RemovePod {
    type OnRecord = PodAt;

    fn on_record(&self) -> &PodAt {
        &self.at
    }
}

static REMOVE_POD: List<RemovePod> = List {
    intent: &[],
    effects: &[
        Step {
            name: "engine.remove-pod.removing",
            apply: |verb| Box::pin(verb.at.removing()),
            undo: None,
        },
        Step {
            name: "engine.remove-pod.state-dir",
            apply: |verb| Box::pin(verb.at.remove_state_dir()),
            undo: None,
        },
        Step {
            name: "engine.remove-pod.run-dir",
            apply: |verb| Box::pin(verb.at.remove_run_dir()),
            undo: None,
        },
    ],
};

/// Removes a container, running or not.
pub(crate) async fn container(engine: &Arc<Shared>, owner: &Owner, id: &str) -> Result<()> {
    let (pod, container) = match engine.table.container_to_remove(owner, id) {
        Ok(found) => found,
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) => return Err(error.context("remove container")),
    };
    let what = format!("remove container {}", container.config.name);
    let at = PodAt { engine: Arc::clone(engine), pod }.with(&container);
    let (queue, span) = (at.at.pod.queue.clone(), at.span("RemoveContainer"));
    let remove = async move {
        at.kill_beside().await?;
        queue.run(async move { at.remove().await }).await
    };
    let task = tokio::spawn(remove.instrument(span));
    task.await.unwrap_or_else(|error| Err(Error::internal(error.to_string()))).context(|| what)
}

/// Removes a pod with its containers, running or not.
pub(crate) async fn pod(engine: &Arc<Shared>, owner: &Owner, id: &str) -> Result<()> {
    let pod = match engine.table.pod_to_remove(owner, id) {
        Ok(pod) => pod,
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) => return Err(error.context("remove pod")),
    };
    let what = format!("remove pod {}", pod.config.full_name());
    let at = PodAt { engine: Arc::clone(engine), pod };
    let (queue, waits) = (at.pod.queue.clone(), at.pod.stop_waits());
    let span = at.span("RemovePodSandbox");
    let remove = async move {
        drop(waits);
        at.remove().await
    };
    queue.run(remove).instrument(span).await.context(|| what)
}

impl ContainerAt {
    /// Removes the container from within its pod's queue.
    pub(crate) async fn remove(&self) -> Result<()> {
        let mut verb = RemoveContainer { at: self.clone() };
        REMOVE_CONTAINER.run(&mut verb).await.map_err(|(error, _)| error)?;
        let (engine, config) = (&self.at.engine, &self.container.config);
        engine.table.drop_container(&self.container.id);
        let key = (self.at.pod.id.clone(), config.name.clone(), config.attempt);
        engine.container_jobs.forget(&key);
        self.at.tell(EventKind::Deleted, Some(&self.container.id));
        Ok(())
    }

    async fn removing(&self) -> Result<()> {
        let change = |record: &mut crate::record::ContainerRecord| {
            record.phase = ContainerPhase::Removing;
        };
        // It says itself when it breaks off.
        let _ = self.container.record.note(change)?.await;
        Ok(())
    }
}

impl PodAt {
    /// Removes the pod from within its queue.
    pub(crate) async fn remove(&self) -> Result<()> {
        self.stop().await?;
        // A stop that was carried out by an earlier daemon knew nothing of them.
        self.undo_half_made().await?;
        for container in self.engine.table.containers_of(&self.pod.id) {
            let at = self.with(&container);
            let removed = at.remove().instrument(at.span("RemoveContainer"));
            removed.await.context(|| format!("container {}", container.config.name))?;
        }
        self.note_to_plugins(Moment::RemovePod).await;
        let mut verb = RemovePod { at: self.clone() };
        REMOVE_POD.run(&mut verb).await.map_err(|(error, _)| error)?;
        self.engine.table.drop_pod(&self.pod.id);
        self.engine.pod_jobs.forget(&(self.pod.owner.clone(), self.pod.config.key()));
        self.tell(EventKind::Deleted, None);
        Ok(())
    }

    async fn removing(&self) -> Result<()> {
        // It says itself when it breaks off.
        let _ = self.pod.record.note(|record| record.phase = PodPhase::Removing)?.await;
        Ok(())
    }
}
