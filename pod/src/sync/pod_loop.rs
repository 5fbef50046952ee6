//! The loop of a pod's worker: look, tell, decide, do.
//!
//! What it could not read again from the runtime is in its [`PodState`]: killed at any point, the
//! next worker for the same uid goes on from that.

use std::time::Duration;

use rrun_cri_api::v1;
use tokio::sync::watch;

use super::actions::{self, Actions};
use super::kill::ContainerToKill;
use super::observe::{self, Fingerprint, Observed, RunState};
use super::relist::{self, RELIST};
use super::start::{Failed, SandboxContext};
use super::worker::{PodWorker, RETRY};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::events::Reason;
use crate::gc;
use crate::gc::removal::Removal;
use crate::node::PodPlace;
use crate::probe::{self, ProbeWorkers};
use crate::resources::{self, PodCgroup};
use crate::state::{Ending, PodState};
use crate::status::{self, Inputs, Phase, restarting};
use crate::tombstone::Cause;
use crate::translate::sandbox;

/// How long volumes may take before that is told (`podAttachAndMountTimeout`).
const MOUNTS: Duration = Duration::from_secs(123);
const DEADLINE: &str = "Pod was active on the node longer than the specified deadline";

/// What a sync leaves to do.
struct SyncResult {
    /// Something was done: look again at once.
    again: bool,
    /// Something failed: try again then.
    retry_at: Option<Timestamp>,
}

impl PodWorker {
    pub(crate) async fn run(mut self) {
        let context = probe::ProbeContext {
            cri: self.cri.clone(),
            pod: self.pod.clone(),
            clock: self.clock.clone(),
            events: self.events.clone(),
            results: self.results.clone(),
            status: self.status.subscribe(),
            stopping: self.stopping.subscribe(),
        };
        let probes = ProbeWorkers::start(&context);
        let mut stop = self.stop.clone();
        let mut verdicts = self.results.changes();
        let (mut is_first, mut is_blind) = (true, false);
        loop {
            verdicts.mark_unchanged();
            // What is done is kept apart from the worker, which mostly waits.
            Box::pin(self.adopt()).await;
            let (seen, fingerprint) = match Box::pin(self.look()).await {
                Ok(found) => found,
                Err(e) => {
                    // The runtime may be away for long.
                    if !std::mem::replace(&mut is_blind, true) {
                        tracing::warn!(pod = %self.pod.meta.name, "look: {e}");
                    }
                    // When it is back, there may be nothing of the pod that would be seen then.
                    let again = self.clock.now().after(RELIST);
                    self.wait(&Fingerprint::new(), Some(again), &mut verdicts).await;
                    if self.stop.borrow().is_some() {
                        break;
                    }
                    continue;
                }
            };
            is_blind = false;
            self.note_resize(&seen);
            self.publish(&seen, &probes);
            Box::pin(self.collect(&seen)).await;
            Box::pin(self.refresh_hosts(&seen)).await;
            if self.is_over() {
                break;
            }
            if std::mem::take(&mut is_first) && !seen.sandboxes.is_empty() {
                // Whoever had the pod before may not have come to it.
                Box::pin(self.refresh_volumes()).await;
            }
            let stopped = stop.wait_for(Option::is_some);
            let mut excess = self.excess.clone();
            let result = tokio::select! {
                biased;
                Ok(_) = stopped => break,
                Ok(_) = excess.wait_for(Option::is_some) => continue,
                result = Box::pin(self.sync(&seen)) => result,
            };
            self.save();
            if result.again {
                continue;
            }
            // What failed is told at once, but `fingerprint` stays that of before: what the sync itself
            // changed is seen with the next relist, and leads to another try as at the kubelet.
            if result.retry_at.is_some()
                && let Ok((seen, _)) = Box::pin(self.look()).await
            {
                self.publish(&seen, &probes);
            }
            while self.wait(&fingerprint, result.retry_at, &mut verdicts).await {
                Box::pin(self.refresh_hosts(&seen)).await;
            }
        }
        Box::pin(self.terminate(&probes)).await;
    }

    /// Whether the pod is to be ended: it was told so, it has ended itself, or its time is over.
    fn is_over(&mut self) -> bool {
        if self.stop.borrow().is_some() || self.status.borrow().phase.is_terminal() {
            return true;
        }
        let excess = self.excess.borrow().clone();
        if let Some(message) = excess {
            self.events.warning(None, Reason::Evicted, &message);
            self.fail(Reason::Evicted, &message);
            return true;
        }
        if self.deadline().is_none_or(|at| self.clock.now() < at) {
            return false;
        }
        self.events.normal(None, Reason::DeadlineExceeded, DEADLINE);
        self.fail(Reason::DeadlineExceeded, DEADLINE);
        true
    }

    fn fail(&self, reason: Reason, message: &str) {
        self.status.send_modify(|status| {
            status.phase = Phase::Failed;
            status.reason = reason.as_str().to_owned();
            status.message = message.to_owned();
        });
    }

    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.active_deadline?;
        let start = self.status.borrow().start_time;
        Some(start.after(Duration::from_secs(seconds.into())))
    }

    pub(super) async fn look(&mut self) -> Result<(Observed, Fingerprint)> {
        let (mut seen, fingerprint) = observe::observe(&*self.cri, &self.pod.meta).await?;
        let count = self.pod.spec.containers.len() + self.pod.spec.init_containers.len();
        self.messages.complete(&mut seen, count, &*self.node).await;
        let known = seen.addresses();
        if self.pod.spec.host_network {
            self.addresses.pod.clone_from(&self.node.facts().addresses);
        } else if !known.is_empty() {
            self.addresses.pod = known;
        }
        Ok((seen, fingerprint))
    }

    pub(super) fn publish(&self, seen: &Observed, probes: &ProbeWorkers) {
        let ended = self.ending == Ending::Done;
        let old = self.status.borrow().clone();
        let mut old = old;
        if let Some(first) = seen.sandboxes.last() {
            // Adopted: the pod began with its first sandbox, not with this process.
            old.start_time = old.start_time.min(first.created_at);
        }
        let mut new = status::generate(&Inputs {
            pod: &self.pod,
            seen,
            failures: &self.failures,
            ephemeral: &self.ephemeral.borrow().clone(),
            results: &self.results,
            old: &old,
            host_ips: &self.node.facts().addresses,
            resize: self.resize_progress(seen),
            recursive_read_only: self.runtime.mounts_recursively_read_only(&self.pod),
            stopping: *self.stopping.borrow(),
            ended,
            now: self.clock.now(),
        });
        self.tell_before_restart(&mut new);
        if ended {
            status::finish(&mut new, self.clock.now());
        }
        for found in new.containers.iter().chain(&new.init_containers) {
            if found.started == Some(true) && !found.ready {
                probes.trigger(&found.name);
            }
        }
        self.status.send_if_modified(|status| {
            let changed = *status != new;
            *status = new;
            changed
        });
        self.save();
    }

    /// Tells what the next engine would have to know.
    fn save(&self) {
        let state = PodState {
            status: self.status.borrow().clone(),
            ending: self.ending,
            crashes: self.crashes.clone(),
            pulls: self.pulls.clone(),
            failures: self.failures.clone(),
            verdicts: self.results.all(),
            pending: self.saved.borrow().pending.clone(),
            actuated: self.actuated.clone(),
            ephemeral: self.ephemeral.borrow().clone(),
            calls: self.saved.borrow().calls.clone(),
            addresses: self.addresses.pod.clone(),
            before_restart: self.before_restart.clone(),
        };
        self.saved.send_if_modified(|saved| {
            let changed = *saved != state;
            *saved = state;
            changed
        });
    }

    /// Waits until something may have changed; true if that is where the pod's Services lead.
    async fn wait(
        &mut self,
        fingerprint: &Fingerprint,
        retry_at: Option<Timestamp>,
        verdicts: &mut watch::Receiver<u64>,
    ) -> bool {
        let far = self.clock.now().after(Duration::from_secs(86_400));
        let until = retry_at.unwrap_or(far).min(self.deadline().unwrap_or(far));
        let clock = self.clock.clone();
        let mut stop = self.stop.clone();
        let mut excess = self.excess.clone();
        let mut behind = self.behind.clone();
        let mut editions = self.editions.clone();
        let (mut ephemeral, mut restarts) = (self.ephemeral.clone(), self.restarts.clone());
        let cri = self.cri.clone();
        let pod = self.pod.clone();
        let relist = relist::changed(&*cri, &pod.meta, fingerprint, self.hints.clone());
        let services = tokio::select! {
            Ok(_) = stop.wait_for(Option::is_some) => false,
            Ok(_) = excess.wait_for(Option::is_some) => false,
            Ok(()) = verdicts.changed() => false,
            Ok(()) = editions.changed() => false,
            Ok(()) = ephemeral.changed() => false,
            Ok(()) = restarts.changed() => false,
            Ok(()) = behind.changed() => true,
            () = clock.sleep_until(until) => false,
            () = relist => false,
        };
        self.behind = behind;
        services
    }

    async fn sync(&mut self, seen: &Observed) -> SyncResult {
        let restarted = if self.restarts.has_changed().unwrap_or(false) {
            Some(self.restart_all(seen).await)
        } else if restarting::is_told(&self.status.borrow()) {
            Some(self.restart_by_rule(seen).await)
        } else {
            None
        };
        if let Some(done) = restarted {
            let retry_at = done.is_err().then(|| self.retry_at());
            if let Err(e) = &done {
                tracing::warn!(pod = %self.pod.meta.name, "restart: {e}");
            }
            return SyncResult { again: done.is_ok(), retry_at };
        }
        let actions = self.decide(seen);
        if actions.is_empty() {
            return SyncResult { again: false, retry_at: None };
        }
        match self.act(&actions, seen).await {
            Ok(result) => result,
            Err(e) => {
                tracing::warn!(pod = %self.pod.meta.name, "sync: {e}");
                SyncResult { again: false, retry_at: Some(self.retry_at()) }
            }
        }
    }

    async fn act(&mut self, actions: &Actions, seen: &Observed) -> Result<SyncResult> {
        if actions.create_sandbox && actions.sandbox.is_some() {
            let text = "Pod sandbox changed, it will be killed and re-created.";
            self.events.normal(None, Reason::SandboxChanged, text);
        }
        if actions.kill_pod {
            self.kill_pod(seen, None).await?;
            if !actions.create_sandbox {
                return Ok(SyncResult { again: !seen.is_dead(), retry_at: Some(self.retry_at()) });
            }
            self.remove_init_runs(seen, 0).await;
        }
        for kill in &actions.kill {
            let target = ContainerToKill {
                id: &kill.id,
                name: &kill.name,
                message: kill.message.clone(),
                reason: kill.reason,
                grace: None,
            };
            self.kill_container(target, None).await?;
        }
        self.remove_init_runs(seen, 1).await;
        let resized = self.resize(&actions.resize, seen).await;
        let retry_at = (!resized).then(|| self.retry_at());
        if !actions.starts() {
            return Ok(SyncResult { again: resized, retry_at });
        }
        let mut result = self.start_all(actions, seen).await?;
        result.retry_at = result.retry_at.into_iter().chain(retry_at).min();
        Ok(result)
    }

    fn decide(&mut self, seen: &Observed) -> Actions {
        let mut actions = actions::compute(&self.pod, seen, &self.results, &self.actuated);
        if !actions.kill_pod && !actions.create_sandbox {
            let sizes = &self.node.facts().hugepage_sizes;
            actions.resize.look_at_pod(&self.pod, &self.actuated, sizes);
            let all = self.ephemeral.borrow_and_update().clone();
            let new = all.iter().enumerate().filter(|(_, e)| seen.latest(&e.name).is_none());
            actions.ephemeral = new.map(|(i, _)| i).collect();
        }
        actions
    }

    /// When what failed now is tried again.
    fn retry_at(&self) -> Timestamp {
        self.clock.now().after(RETRY)
    }

    async fn start_all(&mut self, actions: &Actions, seen: &Observed) -> Result<SyncResult> {
        // A group that is there keeps its limits until what is in it fits the new ones.
        let sizes = &self.node.facts().hugepage_sizes;
        let has = self.actuated.pod.clone().filter(|_| !actions.create_sandbox);
        let limits = has.unwrap_or_else(|| resources::pod_cgroup(&self.pod, sizes));
        self.actuated.pod = Some(limits.clone());
        let place = self.told("its volumes", self.prepare(limits)).await.inspect_err(|e| {
            let text = format!("MountVolume.SetUp failed: {e}");
            self.events.warning(None, Reason::FailedMount, text);
        })?;
        let resolv = self.node.resolv_conf().await?;
        let made = sandbox::config(&self.pod, actions.attempt, &place, &resolv);
        let (config, warning) = made.inspect_err(|e| {
            self.events.warning(
                None,
                Reason::FailedCreatePodSandBox,
                format!("Failed to create pod sandbox: {e}"),
            );
        })?;
        let mut id = actions.sandbox.clone().unwrap_or_default();
        if actions.create_sandbox {
            if let Some(warning) = warning {
                self.events.warning(None, Reason::DnsConfigForming, warning);
            }
            id = self.make_sandbox(&config).await.inspect_err(|e| {
                let text = format!("Failed to create pod sandbox: {e}");
                self.events.warning(None, Reason::FailedCreatePodSandBox, text);
            })?;
            self.learn_address(&id).await?;
            let now = self.clock.now();
            self.status.send_modify(|status| status.set_ready_to_start(now));
            // Others wait for the address before their containers start.
            self.save();
        }
        let image_volumes = &self.image_volumes(&config).await;
        self.await_services().await;
        let (sandbox, config, place) = (&*id, &config, &place);
        let context = SandboxContext { sandbox, config, place, image_volumes, seen };
        Ok(self.start_in(actions, &context).await)
    }

    /// Volumes that hang are told once, as at the kubelet, and waited for.
    async fn prepare(&self, limits: PodCgroup) -> Result<PodPlace> {
        let prepared = self.node.prepare(self.pod.clone(), &self.addresses, limits);
        tokio::pin!(prepared);
        if let Ok(prepared) = tokio::time::timeout(MOUNTS, &mut prepared).await {
            return prepared;
        }
        let text = "Unable to attach or mount volumes: timed out waiting for the condition";
        self.events.warning(None, Reason::FailedMount, text);
        prepared.await
    }

    async fn start_in(&mut self, actions: &Actions, context: &SandboxContext<'_>) -> SyncResult {
        let pod = self.pod.clone();
        let mut result = SyncResult { again: actions.create_sandbox, retry_at: None };
        for &i in &actions.ephemeral {
            let Some(added) = self.ephemeral.borrow().get(i).cloned() else { continue };
            let started = self.start(&added.container(), context).await;
            self.note(&added.name, started, &mut result);
        }
        for &i in &actions.init {
            let container = &pod.spec.init_containers[i];
            let started = self.start(container, context).await;
            let failed = started.is_err();
            self.note(&container.name, started, &mut result);
            if failed && !container.is_sidecar() {
                result.again = false;
                return result;
            }
        }
        for &i in &actions.regular {
            let container = &pod.spec.containers[i];
            let started = self.start(container, context).await;
            self.note(&container.name, started, &mut result);
        }
        result.again &= result.retry_at.is_none();
        result
    }

    fn note(&mut self, name: &str, started: Result<(), Failed>, result: &mut SyncResult) {
        match started {
            Ok(()) => {
                self.failures.remove(name);
                result.again = true;
            }
            Err(Failed { failure, retry_at }) => {
                self.failures.insert(name.to_owned(), failure);
                let at = retry_at.unwrap_or_else(|| self.retry_at());
                result.retry_at = Some(result.retry_at.map_or(at, |other| other.min(at)));
            }
        }
    }

    async fn learn_address(&mut self, id: &str) -> Result<()> {
        if self.pod.spec.host_network {
            return Ok(());
        }
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let reply = self.cri.pod_sandbox_status(request).await;
        let status = reply.map_err(|e| Error::status("sandbox status", &e))?.status;
        if let Some(network) = status.and_then(|s| s.network) {
            let more = network.additional_ips.into_iter().map(|ip| ip.ip);
            let all = std::iter::once(network.ip).chain(more);
            self.addresses.pod = all.filter(|ip| !ip.is_empty()).collect();
        }
        Ok(())
    }

    /// Removes dead runs and sandboxes that nobody needs.
    async fn collect(&self, seen: &Observed) {
        let kept = self.gc.kept_at_once();
        for run in gc::surplus_runs(seen, kept, self.clock.now()) {
            if let Err(e) = self.removal().remove(run, Cause::PerContainer { kept }).await {
                tracing::warn!(pod = %self.pod.meta.name, "{e}");
            }
        }
        for sandbox in gc::sandboxes(seen) {
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            if let Err(e) = self.cri.remove_pod_sandbox(request).await {
                tracing::warn!(pod = %self.pod.meta.name, "remove sandbox: {}", e.message());
            }
        }
    }

    /// Removes runs of init containers beyond the newest `keep` of each.
    async fn remove_init_runs(&self, seen: &Observed, keep: usize) {
        for container in &self.pod.spec.init_containers {
            let ended = |r: &&observe::Run| {
                r.name == container.name
                    && (keep == 0 || matches!(r.state, RunState::Exited | RunState::Unknown))
            };
            for run in seen.runs.iter().filter(ended).skip(keep) {
                if let Err(e) = self.remove_to_make_anew(run).await {
                    tracing::warn!(pod = %self.pod.meta.name, "{e}");
                }
            }
        }
    }

    pub(super) fn removal(&self) -> Removal<'_> {
        let (cri, node, pod) = (&*self.cri, &*self.node, &self.pod.meta);
        Removal { cri, node, pod, now: self.clock.now() }
    }
}
