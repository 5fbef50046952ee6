//! What plugins are told, when, and what is made of what they wish.
//!
//! A plugin that comes hears of what is there, and from then on of what happens: nothing is lost between
//! the two, because what was told to those before it, and is in no list yet, is noted here.

use crate::blocking::blocking;
use crate::error::{Context, Error, Kind, Result};
use crate::id::{ContainerId, Owner, PodId};
use crate::phase::{ContainerPhase, PodPhase};
use crate::ports::{ContainerInfo, Moment, PodInfo, WishedUpdate, Wishes};
use crate::table::{Container, Pod, Shared};
use crate::verbs::{ContainerAt, PodAt, container_end, update_container};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type Containers = BTreeMap<ContainerId, Arc<Container>>;

/// Pods and containers that were noted, to be told.
pub struct Noted {
    pods: Vec<(PodAt, Vec<Arc<Container>>)>,
}

impl Noted {
    /// Those of `owner` that are there at this moment.
    pub(crate) fn of(engine: &Arc<Shared>, owner: &Owner) -> Noted {
        let mut all: BTreeMap<PodId, (Arc<Pod>, Containers)> = BTreeMap::new();
        // First what is in no list, lest it comes into one in between.
        let told = engine.unlisted();
        for pod in told.pods.values() {
            all.insert(pod.id.clone(), (Arc::clone(pod), Containers::new()));
        }
        for (pod, container) in told.containers.values() {
            let pod = all.entry(pod.id.clone()).or_insert((Arc::clone(pod), Containers::new()));
            pod.1.insert(container.id.clone(), Arc::clone(container));
        }
        drop(told);
        for pod in engine.table.pods(owner) {
            all.entry(pod.id.clone()).or_insert((pod, Containers::new()));
        }
        for (pod, container) in engine.table.containers(owner) {
            let pod = all.entry(pod.id.clone()).or_insert((pod, Containers::new()));
            pod.1.insert(container.id.clone(), container);
        }
        let at = |pod| PodAt { engine: Arc::clone(engine), pod };
        let pods = all.into_values();
        Noted { pods: pods.map(|(pod, all)| (at(pod), all.into_values().collect())).collect() }
    }

    /// What there is to tell of those that are still there: a pod that is not removed, a container that
    /// has not ended.
    pub async fn describe(self) -> Vec<(PodInfo, Vec<ContainerInfo>)> {
        let mut all = Vec::new();
        for (at, containers) in self.pods {
            if at.pod.record().phase == PodPhase::Removing {
                continue;
            }
            let mut infos = Vec::new();
            for container in containers {
                let phase = container.record().phase;
                if !matches!(phase, ContainerPhase::Exited | ContainerPhase::Removing) {
                    infos.push(at.with(&container).info(None).await);
                }
            }
            all.push((at.info(), infos));
        }
        all
    }
}

impl PodAt {
    fn info(&self) -> PodInfo {
        let record = self.pod.record();
        let (overhead, resources) = match &record.resized {
            Some(resized) => (resized.overhead.clone(), resized.resources.clone()),
            None => (record.config.overhead.clone(), record.config.resources.clone()),
        };
        PodInfo {
            id: record.id.to_string(),
            config: Arc::clone(&record.config),
            handler: record.handler.clone(),
            cgroup: record.cgroup.clone(),
            netns: record.netns.clone(),
            ips: record.ips.clone(),
            pid: record.reaper.unwrap_or_default(),
            overhead,
            resources,
        }
    }

    /// Tells what happens to the pod.
    ///
    /// # Errors
    /// When a plugin says no.
    pub(crate) async fn tell_plugins(&self, moment: Moment) -> Result<()> {
        let plugins = &self.engine.ports.plugins;
        if plugins.hear(&moment) {
            plugins.tell(moment, self.info(), None).await?;
        }
        Ok(())
    }

    /// The same of what has happened already.
    pub(crate) async fn note_to_plugins(&self, moment: Moment) {
        if let Err(error) = self.tell_plugins(moment).await {
            tracing::warn!(pod = %self.pod.id, %error, "a plugin says no to what has happened");
        }
    }

    /// The pod has all that it needs.
    pub(crate) async fn tell_run(&self, info: impl FnOnce(&mut PodInfo)) -> Result<()> {
        self.engine.unlisted().pods.insert(self.pod.id.clone(), Arc::clone(&self.pod));
        let plugins = &self.engine.ports.plugins;
        if plugins.hear(&Moment::RunPod) {
            let mut pod = self.info();
            info(&mut pod);
            plugins.tell(Moment::RunPod, pod, None).await?;
        }
        Ok(())
    }

    /// It is in the lists.
    pub(crate) fn is_listed(&self) {
        self.engine.unlisted().pods.remove(&self.pod.id);
    }

    /// It will not be: whoever heard of it hears that it goes.
    pub(crate) async fn untell_run(&self) -> Result<()> {
        if self.engine.unlisted().pods.remove(&self.pod.id).is_some() {
            self.note_to_plugins(Moment::StopPod).await;
            self.note_to_plugins(Moment::RemovePod).await;
        }
        Ok(())
    }
}

impl ContainerAt {
    async fn info(&self, spec: Option<Value>) -> ContainerInfo {
        let spec = match spec {
            Some(spec) => spec,
            None => self.read_spec().await.unwrap_or_default(),
        };
        let record = self.container.record();
        ContainerInfo {
            id: record.id.to_string(),
            config: Arc::clone(&record.config),
            phase: record.phase,
            spec,
            pid: record.pid,
            created_at: record.created_at,
            started_at: record.started_at,
            exit: record.exit.clone(),
        }
    }

    async fn read_spec(&self) -> Result<Value> {
        let path = self.at.pod.dirs.spec(&self.container.id);
        let read = move || {
            let text = rrun_sys::record::read(&path).context(|| "read a configuration")?;
            serde_json::from_slice(&text).map_err(|error| Error::internal(error.to_string()))
        };
        blocking(read).await
    }

    /// Tells what happens to the container.
    ///
    /// # Errors
    /// When a plugin says no.
    pub(crate) async fn tell_plugins(&self, moment: Moment) -> Result<Wishes> {
        let plugins = &self.at.engine.ports.plugins;
        if !plugins.hear(&moment) {
            return Ok(Wishes::default());
        }
        let info = self.info(None).await;
        plugins.tell(moment, self.at.info(), Some(info)).await
    }

    /// The same of what has happened already. What they wish of others is done behind.
    pub(crate) async fn note_to_plugins(&self, moment: Moment) {
        match self.tell_plugins(moment).await {
            Ok(wishes) => self.grant_behind(wishes),
            Err(error) => {
                let container = &self.container.id;
                tracing::warn!(%container, %error, "a plugin says no to what has happened");
            }
        }
    }

    /// The container is planned: what plugins make of its configuration. `None`: nothing.
    ///
    /// # Errors
    /// When a plugin says no, or one of the others that it wants changed cannot be.
    pub(crate) async fn tell_create(&self, spec: &Value) -> Result<Option<Wishes>> {
        let (pod, container) = (Arc::clone(&self.at.pod), Arc::clone(&self.container));
        self.at.engine.unlisted().containers.insert(container.id.clone(), (pod, container));
        let plugins = &self.at.engine.ports.plugins;
        if !plugins.hear(&Moment::CreateContainer) {
            return Ok(None);
        }
        let info = self.info(Some(spec.clone())).await;
        let mut wishes = plugins.tell(Moment::CreateContainer, self.at.info(), Some(info)).await?;
        let updates = std::mem::take(&mut wishes.updates);
        let evictions = std::mem::take(&mut wishes.evictions);
        let failed = grant(&self.at.engine, &self.at.pod.owner, updates, evictions).await;
        match failed.into_iter().find(|(update, _)| !update.may_fail) {
            Some((update, error)) => {
                Err(error.context(format!("a plugin's update of container {}", update.container)))
            }
            None => Ok(Some(wishes)),
        }
    }

    /// It is in the lists.
    pub(crate) fn is_listed(&self) {
        self.at.engine.unlisted().containers.remove(&self.container.id);
    }

    /// It will not be: whoever heard of it hears that it goes.
    pub(crate) async fn untell_create(&self) {
        let told = self.at.engine.unlisted().containers.remove(&self.container.id);
        if told.is_some() {
            self.note_to_plugins(Moment::StopContainer).await;
            self.note_to_plugins(Moment::RemoveContainer).await;
        }
    }

    /// Does what plugins wish of others, with nobody waiting: a verb of the same pod may be under way.
    pub(crate) fn grant_behind(&self, wishes: Wishes) {
        let Wishes { updates, evictions, .. } = wishes;
        if updates.is_empty() && evictions.is_empty() {
            return;
        }
        let (engine, owner) = (Arc::clone(&self.at.engine), self.at.pod.owner.clone());
        tokio::spawn(async move {
            for (update, error) in grant(&engine, &owner, updates, evictions).await {
                tracing::warn!(container = update.container, %error, "a plugin's update");
            }
        });
    }
}

/// Does what plugins wish; what cannot be done comes back, with why. A container that is not there, or
/// has ended, is passed over.
pub(crate) async fn grant(
    engine: &Arc<Shared>,
    owner: &Owner,
    updates: Vec<WishedUpdate>,
    evictions: Vec<(String, String)>,
) -> Vec<(WishedUpdate, Error)> {
    let mut failed = Vec::new();
    for update in updates {
        let change = update.resources.clone();
        match update_container::change(engine, owner, &update.container, change).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::FailedPrecondition) => {
                tracing::debug!(container = update.container, %error, "nothing to update");
            }
            Err(error) => failed.push((update, error)),
        }
    }
    for (container, reason) in evictions {
        tracing::info!(container, reason, "evicted by a plugin");
        if let Err(error) = container_end::stop(engine, owner, &container, Duration::ZERO).await {
            tracing::warn!(container, %error, "not evicted");
        }
    }
    failed
}
