//! The pod engine: runs pods, and tells their statuses.

use std::sync::Arc;

use rrun_cri_api::{Cri, v1};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::addresses::Addresses;
use crate::admission::{self, Runtime};
use crate::clock::Clock;
use crate::ephemeral::Ephemeral;
use crate::error::{Error, Result};
use crate::events::{Events, Recorder};
use crate::eviction;
use crate::gc::policy::GcPolicy;
use crate::gc::removal::Removal;
use crate::hints::{self, Hints};
use crate::model::{Meta, Pod};
use crate::node::Node;
use crate::probe::Results;
use crate::pull_records::VerificationPolicy;
use crate::state::{Ending, PodState};
use crate::status::PodStatus;
use crate::sync::{PodWorker, Stop, behind, observe, pull};
use crate::tombstone::Cause;
use crate::update;

/// Runs pods over one runtime and one node. Pods do not know of each other.
pub struct PodEngine {
    cri: Arc<dyn Cri>,
    node: Arc<dyn Node>,
    clock: Clock,
    runtime: Arc<Runtime>,
    unsafe_sysctls: Vec<String>,
    verification: Arc<VerificationPolicy>,
    gc: GcPolicy,
    hints: Arc<Hints>,
    listener: JoinHandle<()>,
}

impl PodEngine {
    /// An engine over `cri`. Asks the runtime for its name, which is the scheme of container ids,
    /// and for what it can do. `Unavailable` if it does not answer.
    pub async fn new(cri: Arc<dyn Cri>, node: Arc<dyn Node>, clock: Clock) -> Result<Self> {
        let runtime = Arc::new(Runtime::ask(&*cri).await?);
        let hints = Arc::<Hints>::default();
        let listener = tokio::spawn(hints::listen(cri.clone(), hints.clone()));
        Ok(PodEngine {
            cri,
            node,
            clock,
            runtime,
            unsafe_sysctls: Vec::new(),
            verification: Arc::default(),
            gc: GcPolicy::default(),
            hints,
            listener,
        })
    }

    /// Allows sysctls beside the safe ones: names, or prefixes that end in `*`.
    #[must_use]
    pub fn with_unsafe_sysctls(mut self, allowed: Vec<String>) -> Self {
        self.unsafe_sysctls = allowed;
        self
    }

    /// Which images that are here pods may use without asking their registry.
    #[must_use]
    pub fn with_verification(mut self, policy: VerificationPolicy) -> Self {
        self.verification = Arc::new(policy);
        self
    }

    /// How many dead containers of a pod are kept.
    #[must_use]
    pub fn with_gc(mut self, policy: GcPolicy) -> Self {
        self.gc = policy;
        self
    }

    /// The runtime's name.
    pub fn runtime_name(&self) -> &str {
        &self.runtime.name
    }

    /// Refuses (`Invalid`) by name what this node or its runtime could only fail at later. Asked
    /// before a pod is made; one that is there already may always be taken up, to be ended.
    pub fn admit(&self, pod: &Pod) -> Result<()> {
        let apparmor = self.node.facts().apparmor;
        admission::check(pod, &self.runtime, apparmor, &self.unsafe_sysctls)
    }

    /// Takes up a pod: makes what is missing and goes on with what is there already of the same
    /// uid. Answers at once; everything else is told by the handle. The pod goes on if the handle
    /// is dropped.
    pub fn run(&self, pod: Pod) -> PodHandle {
        let state = PodState::new(&pod, self.clock.now());
        self.resume(pod, state)
    }

    /// As [`PodEngine::run`], from where another engine left the pod.
    pub fn resume(&self, pod: Pod, mut state: PodState) -> PodHandle {
        state.actuated.complete(&pod);
        let resizing = state.status.conditions.iter().any(|c| c.kind == "PodResizeInProgress");
        let pod = Arc::new(pod);
        let editions = watch::Sender::new(pod.clone());
        let ephemeral = watch::Sender::new(state.ephemeral.clone());
        let (restarts, restarted) = (watch::Sender::new(0), watch::Sender::new(0));
        let events = Recorder::new(self.clock.clone());
        let status = watch::Sender::new(state.status.clone());
        let saved = watch::Sender::new(state.clone());
        let stop = Arc::new(watch::Sender::new(None));
        let handle = PodHandle {
            pod: pod.clone(),
            node: self.node.clone(),
            editions: editions.clone(),
            ephemeral: ephemeral.clone(),
            restarts: restarts.clone(),
            restarted: restarted.subscribe(),
            status: status.subscribe(),
            state: saved.subscribe(),
            recorder: events.clone(),
            stop: stop.clone(),
        };
        let stopping = watch::Sender::new(false);
        let excess = watch::Sender::new(None);
        let world = (self.cri.clone(), self.node.clone());
        let told = excess.subscribe();
        tokio::spawn(eviction::watch(pod.clone(), world, stopping.subscribe(), excess));
        let found = watch::Sender::default();
        let led = found.subscribe();
        tokio::spawn(behind::watch(pod.clone(), self.node.clone(), stopping.subscribe(), found));
        let worker = PodWorker {
            hints: self.hints.of(&pod.meta.uid),
            pod,
            cri: self.cri.clone(),
            runtime: self.runtime.clone(),
            node: self.node.clone(),
            clock: self.clock.clone(),
            events,
            status,
            saved,
            stop: stop.subscribe(),
            stopping,
            ending: Ending::No,
            excess: told,
            verification: self.verification.clone(),
            gc: self.gc,
            results: Arc::new(Results::restored(state.verdicts)),
            addresses: Addresses::default(),
            behind: led,
            crashes: state.crashes,
            pulls: state.pulls,
            failures: state.failures,
            before_restart: state.before_restart,
            messages: Default::default(),
            actuated: state.actuated,
            resizing,
            editions: editions.subscribe(),
            ephemeral: ephemeral.subscribe(),
            restarts: restarts.subscribe(),
            restarted,
            making: None,
        };
        tokio::spawn(async move {
            worker.run().await;
            drop(stop);
        });
        handle
    }

    /// Removes what an ended pod left: containers, sandboxes, volumes, cgroup and logs. A pod that
    /// still runs is ended without grace. Idempotent.
    pub async fn remove(&self, pod: &Pod) -> Result<()> {
        let (seen, _) = observe::observe(&*self.cri, &pod.meta).await?;
        let (cri, node) = (&*self.cri, &*self.node);
        let removal = Removal { cri, node, pod: &pod.meta, now: self.clock.now() };
        // A disk that takes no tombstone is asked once: the pod goes all the same.
        let mut takes_tombstones = true;
        for run in &seen.runs {
            if takes_tombstones
                && let Err(e) = removal.leave_tombstone(run, Cause::PodRemoved).await
            {
                tracing::warn!(pod = %pod.meta.name, "tombstone of {}: {e}", run.name);
                takes_tombstones = false;
            }
            removal.remove_container(run).await?;
        }
        for sandbox in &seen.sandboxes {
            let request = v1::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            found(self.cri.stop_pod_sandbox(request).await.map(drop), "stop sandbox")?;
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
            found(self.cri.remove_pod_sandbox(request).await.map(drop), "remove sandbox")?;
        }
        pull::settle(cri, node, pod, self.clock.now()).await?;
        self.node.tear_down(&pod.meta.uid).await?;
        self.node.remove_logs(Arc::new(pod.clone())).await
    }
}

impl Drop for PodEngine {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// What is gone already is removed.
fn found(reply: std::result::Result<(), tonic::Status>, what: &str) -> Result<()> {
    match reply {
        Err(e) if e.code() != Code::NotFound => Err(Error::status(what, &e)),
        _ => Ok(()),
    }
}

/// A pod that the engine runs.
pub struct PodHandle {
    pod: Arc<Pod>,
    node: Arc<dyn Node>,
    editions: watch::Sender<Arc<Pod>>,
    ephemeral: watch::Sender<Vec<Ephemeral>>,
    restarts: watch::Sender<u64>,
    restarted: watch::Receiver<u64>,
    status: watch::Receiver<PodStatus>,
    state: watch::Receiver<PodState>,
    recorder: Recorder,
    stop: Arc<watch::Sender<Option<Stop>>>,
}

impl PodHandle {
    /// Who it is.
    pub fn meta(&self) -> &Meta {
        &self.pod.meta
    }

    /// The status as it changes. It closes when the pod is over and its volumes are gone.
    pub fn status(&self) -> watch::Receiver<PodStatus> {
        self.status.clone()
    }

    /// Everything that another engine would need to go on with the pod, as it changes; its last
    /// value has the last status.
    pub fn state(&self) -> watch::Receiver<PodState> {
        self.state.clone()
    }

    /// Events, the last 256 of those before this call first.
    pub fn events(&self) -> Events {
        self.recorder.subscribe()
    }

    /// Where what happens beside the pod is told.
    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// What the pod would be by another edition of its manifest.
    ///
    /// # Errors
    /// `Invalid` with what may not change while it is there.
    pub fn edition(&self, new: &Pod) -> Result<Pod> {
        let now = self.editions.borrow().clone();
        update::apply(&now, new, self.node.facts())
    }

    /// Lets the pod become what [`PodHandle::edition`] has answered.
    pub fn update(&self, next: Pod) {
        self.editions.send_replace(Arc::new(next));
    }

    /// Adds an ephemeral container, which is started once.
    ///
    /// # Errors
    /// `Invalid` with what the API server would refuse.
    pub fn add(&self, container: Ephemeral) -> Result<()> {
        let pod = self.editions.borrow().clone();
        let mut done = Ok(());
        self.ephemeral.send_if_modified(|all| {
            done = container.check(&pod, all);
            if done.is_ok() {
                all.push(container);
            }
            done.is_ok()
        });
        done
    }

    /// Ends all containers of the pod in their order and has them started again, from the first init
    /// container on; waits until they have ended. The pod stays what it is, with its addresses and
    /// volumes.
    pub async fn restart(&self) {
        let mut order = 0;
        self.restarts.send_modify(|count| {
            *count += 1;
            order = *count;
        });
        // It closes when the pod is over.
        let _ = self.restarted.clone().wait_for(|done| *done >= order).await;
    }

    /// Asks the pod to end: hooks, stop signals, and SIGKILL after `grace` seconds (the pod's own
    /// if `None`). Asked again with a shorter grace, the shorter one counts.
    pub fn stop(&self, grace: Option<u32>) {
        self.stop.send_if_modified(|order| {
            let keep = matches!((&order, grace), (Some(Stop { grace: Some(old) }), Some(new)) if new >= *old)
                || (order.is_some() && grace.is_none());
            if !keep {
                *order = Some(Stop { grace });
            }
            !keep
        });
    }

    /// Waits until the pod is over and answers its last status.
    pub async fn wait(&self) -> PodStatus {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
        status.borrow().clone()
    }
}
