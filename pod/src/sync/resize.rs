//! Another edition of a pod that is there: its volumes follow, and what runs is told of its resources in
//! place (`doPodResizeAction` of the kubelet).

use rrun_cri_api::v1;
use tonic::Code;

use super::observe::{Observed, RunState};
use super::worker::PodWorker;
use crate::error::{Context, Error, Kind, Result};
use crate::events::Reason;
use crate::resize::{self, Figures, Resize, Update};
use crate::resources::{self, PodCgroup};
use crate::translate::container;

impl PodWorker {
    /// Takes up another edition of the pod, if there is one.
    pub(super) async fn adopt(&mut self) {
        if !self.editions.has_changed().unwrap_or(false) {
            return;
        }
        let next = self.editions.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.pod, next);
        let figures = |pod: &crate::model::Pod| {
            let all = pod.spec.all().map(|(_, container)| Figures::of(pod, container));
            (all.collect::<Vec<_>>(), resources::pod_cgroup(pod, &self.node.facts().hugepage_sizes))
        };
        if figures(&before) != figures(&self.pod) {
            self.actuated.error = None;
            self.resizing = true;
            let text = resize::message("Pod resize started", &self.pod, "");
            self.events.normal(None, Reason::ResizeStarted, text);
        }
        self.refresh_volumes().await;
    }

    /// Brings the files of volumes up to date. What cannot be written now is at the next start.
    pub(super) async fn refresh_volumes(&self) {
        let mut stop = self.stop.clone();
        let refreshed = tokio::select! {
            biased;
            // A disk that hangs keeps nobody from ending the pod.
            Ok(_) = stop.wait_for(Option::is_some) => return,
            refreshed = self.node.refresh(self.pod.clone(), &self.addresses) => refreshed,
        };
        if let Err(e) = refreshed {
            let text = format!("MountVolume.SetUp failed: {e}");
            self.events.warning(None, Reason::FailedMount, text);
        }
    }

    /// Tells what a change of resources has come to; whether it is over.
    pub(super) fn note_resize(&mut self, seen: &Observed) {
        let sizes = &self.node.facts().hugepage_sizes;
        if !self.resizing || self.actuated.is_behind(&self.pod, seen, sizes) {
            return;
        }
        self.resizing = false;
        self.actuated.error = None;
        let text = resize::message("Pod resize completed", &self.pod, "");
        self.events.normal(None, Reason::ResizeCompleted, text);
    }

    /// Why a change of resources is not done, if it is not: empty where nothing has failed.
    pub(super) fn resize_progress(&self, seen: &Observed) -> Option<String> {
        let sizes = &self.node.facts().hugepage_sizes;
        let behind = self.actuated.is_behind(&self.pod, seen, sizes);
        behind.then(|| self.actuated.error.clone().unwrap_or_default())
    }

    /// Gives what runs its new resources; whether all of it is done. What is not is tried again.
    pub(super) async fn resize(&mut self, resize: &Resize, seen: &Observed) -> bool {
        if resize.is_empty() {
            return true;
        }
        self.resizing = true;
        let done = self.try_resize(resize, seen).await;
        let Err(e) = done else { return true };
        let text = e.to_string();
        if self.actuated.error.as_ref() != Some(&text) {
            let message = resize::message("Pod resize error", &self.pod, &text);
            self.events.warning(None, Reason::ResizeError, message);
            self.actuated.error = Some(text);
        }
        false
    }

    async fn try_resize(&mut self, resize: &Resize, seen: &Observed) -> Result<()> {
        let wanted = self.actuated.wanted(&self.pod, &self.node.facts().hugepage_sizes);
        let mut now = self.actuated.pod.clone().unwrap_or_else(|| wanted.clone());
        self.check_memory(&resize.memory, (now.memory, wanted.memory), seen).await?;
        // A pod has room for what becomes more before its containers ask for it, and what becomes less
        // is taken from them first.
        let more = |now: Option<i64>, wanted: Option<i64>| limit(wanted) > limit(now);
        if more(now.memory, wanted.memory) {
            self.set_pod(seen, PodCgroup { memory: wanted.memory, ..now.clone() }).await?;
        }
        for update in &resize.memory {
            let (now, to) = (self.has(update), update.wanted);
            let (memory_request, memory_limit) = (to.memory_request, to.memory_limit);
            self.update(update, Figures { memory_request, memory_limit, ..now }).await?;
        }
        now.memory = wanted.memory;
        if self.actuated.pod.as_ref().is_some_and(|pod| pod.memory != wanted.memory) {
            self.set_pod(seen, now.clone()).await?;
        }
        if more(now.quota, wanted.quota) {
            now.quota = wanted.quota;
            self.set_pod(seen, now.clone()).await?;
        }
        if wanted.shares > now.shares {
            now.shares = wanted.shares;
            self.set_pod(seen, now.clone()).await?;
        }
        for update in &resize.cpu {
            let (now, to) = (self.has(update), update.wanted);
            let (cpu_request, cpu_limit) = (to.cpu_request, to.cpu_limit);
            self.update(update, Figures { cpu_request, cpu_limit, ..now }).await?;
        }
        if now != wanted {
            self.set_pod(seen, wanted).await?;
        }
        Ok(())
    }

    fn has(&self, update: &Update) -> Figures {
        self.actuated.containers.get(&update.name).copied().unwrap_or(update.now)
    }

    /// Tells the runtime of a container's figures.
    async fn update(&mut self, update: &Update, figures: Figures) -> Result<()> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: update.id.clone(),
            linux: Some(container::changed_limits(figures)),
            ..Default::default()
        };
        let call = self.cri.update_container_resources(request);
        let done = self.told(format!("UpdateContainerResources {}", update.name), call).await;
        done.map_err(|e| Error::status(format!("update container {}", update.name), &e))?;
        self.actuated.containers.insert(update.name.clone(), figures);
        Ok(())
    }

    /// Gives the pod's own group other limits. The runtime hears of it first, and may refuse.
    async fn set_pod(&mut self, seen: &Observed, limits: PodCgroup) -> Result<()> {
        if let Some(sandbox) = seen.sandboxes.first() {
            let request = v1::UpdatePodSandboxResourcesRequest {
                pod_sandbox_id: sandbox.id.clone(),
                overhead: None,
                resources: Some(v1::LinuxContainerResources {
                    cpu_period: resources::CPU_PERIOD,
                    cpu_quota: limits.quota.unwrap_or(0),
                    cpu_shares: limits.shares,
                    memory_limit_in_bytes: limits.memory.unwrap_or(0),
                    ..Default::default()
                }),
            };
            match self.cri.update_pod_sandbox_resources(request).await {
                Err(e) if e.code() != Code::Unimplemented => {
                    return Err(Error::status("update sandbox", &e));
                }
                _ => {}
            }
        }
        self.node.limit(&self.pod.meta.uid, limits.clone()).await.context(|| "pod")?;
        self.actuated.pod = Some(limits);
        Ok(())
    }

    /// Refuses less memory than is used (`validateMemoryResizeAction`): the kernel would kill for it.
    async fn check_memory(
        &self,
        updates: &[Update],
        (now, wanted): (Option<i64>, Option<i64>),
        seen: &Observed,
    ) -> Result<()> {
        let less = |update: &&Update| {
            let to = update.wanted.memory_limit;
            to != 0 && (update.now.memory_limit == 0 || to < update.now.memory_limit)
        };
        let shrinking: Vec<&Update> = updates.iter().filter(less).collect();
        let pod_shrinks = limit(wanted) < limit(now);
        if shrinking.is_empty() && !pod_shrinks {
            return Ok(());
        }
        let mut faults = Vec::new();
        let mut whole = 0;
        for run in seen.active().filter(|run| run.state == RunState::Running) {
            let used = self.memory_used(&run.id).await?;
            whole += used;
            if let Some(update) = shrinking.iter().find(|update| update.id == run.id)
                && used >= update.wanted.memory_limit
            {
                let to = update.wanted.memory_limit;
                let what = format!("container {:?} memory limit ({to})", update.name);
                faults.push(format!("attempting to set {what} below current usage ({used})"));
            }
        }
        if let Some(to) = wanted.filter(|to| pod_shrinks && whole >= *to) {
            let what = format!("pod memory limit ({to})");
            faults.insert(0, format!("attempting to set {what} below current usage ({whole})"));
        }
        match faults.len() {
            0 => return Ok(()),
            1 => {}
            _ => faults = vec![format!("[{}]", faults.join(", "))],
        }
        let text = format!("cannot decrease memory limits: {}", faults.concat());
        Err(Error::new(Kind::Invalid, text))
    }

    async fn memory_used(&self, id: &str) -> Result<i64> {
        let request = v1::ContainerStatsRequest { container_id: id.to_owned() };
        let reply = self.cri.container_stats(request).await;
        let stats = reply.map_err(|e| Error::status("container stats", &e))?.stats;
        let memory = stats.and_then(|stats| stats.memory);
        let used = memory.and_then(|memory| memory.usage_bytes.or(memory.working_set_bytes));
        Ok(used.map_or(0, |used| i64::try_from(used.value).unwrap_or(i64::MAX)))
    }
}

/// No limit is more than any.
fn limit(limit: Option<i64>) -> i64 {
    limit.filter(|limit| *limit > 0).unwrap_or(i64::MAX)
}
