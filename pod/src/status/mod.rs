//! A pod's status, exactly as the kubelet would report it.

mod conditions;
mod containers;
mod details;
mod json;
mod phase;
pub(crate) mod restarting;
mod summary;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use containers::ended;
pub use details::{Amounts, MountStatus, ResourceStatus, amounts};
pub use json::to_json;
pub use summary::{Summary, summarize};

use crate::clock::Timestamp;
use crate::ephemeral::Ephemeral;
use crate::model::{Container, Pod};
use crate::probe::{ProbeKind, Results, Verdict};
use crate::resources::{self, Qos, qos};
use crate::sync::observe::{LinuxUser, Observed};

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not everything has been started.
    #[default]
    Pending,
    /// Something runs, or is about to be started again.
    Running,
    /// Everything ended well, for good.
    Succeeded,
    /// Everything ended, something not well.
    Failed,
}

impl Phase {
    /// Whether it is the last one.
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }

    /// As printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }
}

/// How one run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// Last words.
    pub message: String,
    /// Zero if it never started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The run; empty if it is not known any more.
    pub container_id: String,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is not running, and is to be.
    Waiting {
        /// `PodInitializing`, `CrashLoopBackOff`, …
        reason: String,
        /// More about it.
        message: String,
    },
    /// It is running.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It has ended.
    Terminated(Terminated),
}

/// The status of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// How the run before ended.
    pub last: Option<Terminated>,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Whether its startup probe has passed (true at once without one).
    pub started: Option<bool>,
    /// How often it was started again.
    pub restart_count: u32,
    /// The image.
    pub image: String,
    /// Its digest.
    pub image_id: String,
    /// The present or last run.
    pub container_id: Option<String>,
    /// Requests and limits in force; none before it was made.
    pub resources: Option<ResourceStatus>,
    /// The requests that it was made with.
    pub allocated_resources: Amounts,
    /// Who it runs as; none before it was made.
    pub user: Option<LinuxUser>,
    /// In the manifest's order.
    pub volume_mounts: Vec<MountStatus>,
}

impl ContainerStatus {
    /// Of a container that was not made yet.
    pub(crate) fn new(name: &str, state: State) -> Self {
        ContainerStatus {
            name: name.to_owned(),
            state,
            last: None,
            ready: false,
            started: None,
            restart_count: 0,
            image: String::new(),
            image_id: String::new(),
            container_id: None,
            resources: None,
            allocated_resources: Amounts::new(),
            user: None,
            volume_mounts: Vec::new(),
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready`, `Initialized`, …
    pub kind: String,
    /// True or False.
    pub status: bool,
    /// Why, in one word; may be empty.
    pub reason: String,
    /// Why, in a sentence; may be empty.
    pub message: String,
    /// When `status` last changed.
    pub since: Timestamp,
}

/// A pod's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, in one word; may be empty.
    pub reason: String,
    /// Why, in a sentence; may be empty.
    pub message: String,
    /// In the kubelet's order.
    pub conditions: Vec<Condition>,
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// When it was taken up.
    pub start_time: Timestamp,
    /// In the manifest's order.
    pub init_containers: Vec<ContainerStatus>,
    /// By name.
    pub containers: Vec<ContainerStatus>,
    /// Of ephemeral containers, in the order in which they were added.
    #[serde(default)]
    pub ephemeral: Vec<ContainerStatus>,
    /// `Guaranteed`, `Burstable`, `BestEffort`.
    pub qos: Qos,
    /// The generation of the manifest that this is about; 0 where it has none.
    pub observed_generation: i64,
    /// What the pod as a whole asks for and may take: what the manifest says.
    pub resources: ResourceStatus,
}

impl PodStatus {
    /// Before anything is known.
    pub fn new(pod: &Pod, start_time: Timestamp) -> Self {
        PodStatus {
            phase: Phase::Pending,
            reason: String::new(),
            message: String::new(),
            conditions: Vec::new(),
            host_ips: Vec::new(),
            pod_ips: Vec::new(),
            start_time,
            init_containers: Vec::new(),
            containers: Vec::new(),
            ephemeral: Vec::new(),
            qos: qos(pod),
            observed_generation: pod.meta.generation,
            resources: ResourceStatus {
                requests: details::amounts(&resources::pod_requests(pod, true)),
                limits: details::amounts(&resources::pod_limits(pod)),
            },
        }
    }

    /// The status of a container of any kind.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        let all = self.containers.iter().chain(&self.init_containers).chain(&self.ephemeral);
        all.into_iter().find(|c| c.name == name)
    }

    /// Sandbox and volumes are there: told before images are pulled and containers started, which
    /// may take long (`OnPodSandboxReady` of the kubelet).
    pub fn set_ready_to_start(&mut self, now: Timestamp) {
        let known = self.conditions.iter_mut().find(|c| c.kind == "PodReadyToStartContainers");
        if let Some(condition) = known.filter(|condition| !condition.status) {
            (condition.status, condition.since) = (true, now);
        }
    }

    /// Whether the condition `Ready` is true.
    pub fn is_ready(&self) -> bool {
        self.conditions.iter().any(|c| c.kind == "Ready" && c.status)
    }
}

/// Why a container could not be started: what the engine remembers between two tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// `ErrImagePull`, `CrashLoopBackOff`, …
    pub reason: String,
    /// The text.
    pub message: String,
}

/// Everything a status is made from.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What the runtime has.
    pub seen: &'a Observed,
    /// Why containers could not be started.
    pub failures: &'a BTreeMap<String, StartFailure>,
    /// Ephemeral containers that were added to it.
    pub ephemeral: &'a [Ephemeral],
    /// What the probes found.
    pub results: &'a Results,
    /// The status before.
    pub old: &'a PodStatus,
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// Why resources that were changed are not in force yet, if they are not; may be empty.
    pub resize: Option<String>,
    /// Whether the runtime can make the mounts below a read-only mount read-only too.
    pub recursive_read_only: bool,
    /// The pod is being stopped: nothing is started again.
    pub stopping: bool,
    /// Every container has been ended for good.
    pub ended: bool,
    /// Now.
    pub now: Timestamp,
}

/// Makes the status.
pub fn generate(inputs: &Inputs<'_>) -> PodStatus {
    let (pod, old) = (inputs.pod, inputs.old);
    let mut status = PodStatus::new(pod, old.start_time);
    status.host_ips = inputs.host_ips.to_vec();
    let pod_ips =
        if pod.spec.host_network { inputs.host_ips.to_vec() } else { inputs.seen.addresses() };
    // An address that was known stays known while the sandbox ends.
    status.pod_ips = if pod_ips.is_empty() { old.pod_ips.clone() } else { pod_ips };
    let spec = &pod.spec;
    status.init_containers = containers::statuses(inputs, &spec.init_containers, true);
    status.containers = containers::statuses(inputs, &spec.containers, false);
    status.containers.sort_by(|a, b| a.name.cmp(&b.name));
    let added: Vec<_> = inputs.ephemeral.iter().map(Ephemeral::container).collect();
    status.ephemeral = containers::statuses(inputs, &added, false);

    let started_before =
        inputs.seen.active().any(|run| spec.containers.iter().any(|c| c.name == run.name));
    status.phase = phase::phase(inputs, &status, started_before);
    // The last phase is the last: a pod that was failed does not succeed while it is ended.
    if old.phase.is_terminal() {
        status.phase = old.phase;
    }
    if status.phase == old.phase {
        status.reason.clone_from(&old.reason);
        status.message.clone_from(&old.message);
    }
    readiness(inputs, &mut status);
    status.conditions = conditions::conditions(inputs, &status);
    status
}

fn readiness(inputs: &Inputs<'_>, status: &mut PodStatus) {
    let find = |list: &[Container], name: &str| list.iter().find(|c| c.name == name).cloned();
    for found in &mut status.containers {
        if let Some(container) = find(&inputs.pod.spec.containers, &found.name) {
            judge(inputs, &container, found);
        }
    }
    for found in &mut status.init_containers {
        let Some(container) = find(&inputs.pod.spec.init_containers, &found.name) else { continue };
        judge(inputs, &container, found);
        if !container.is_sidecar() {
            found.ready = matches!(&found.state, State::Terminated(end) if end.exit_code == 0);
        }
    }
}

/// Sets `started` and `ready` from the probes.
fn judge(inputs: &Inputs<'_>, container: &Container, found: &mut ContainerStatus) {
    let running = matches!(found.state, State::Running { .. });
    let verdict = |kind| found.container_id.as_deref().and_then(|id| inputs.results.get(id, kind));
    let started = running
        && match verdict(ProbeKind::Startup) {
            Some(verdict) => verdict == Verdict::Success,
            None => container.startup.is_none(),
        };
    let ready = started
        && match verdict(ProbeKind::Readiness) {
            Some(Verdict::Success) => true,
            _ => container.readiness.is_none(),
        };
    found.started = Some(started);
    found.ready = ready;
}

/// Makes the status of a pod that is over final: what never ran will not, and what is not known
/// counts as failed (`TerminatePod` of the kubelet's status manager).
pub fn finish(status: &mut PodStatus, now: Timestamp) {
    let initialised = status.init_containers.iter().all(|c| c.ready || c.started == Some(true))
        || status.containers.iter().any(|c| c.container_id.is_some());
    let begun = status.init_containers.iter().rposition(|c| c.container_id.is_some());
    let lost = |found: &mut ContainerStatus| {
        found.ready = false;
        found.started = Some(false);
        if !matches!(found.state, State::Terminated(_)) {
            found.state = State::Terminated(containers::lost());
        }
    };
    if initialised {
        status.containers.iter_mut().for_each(lost);
    }
    for found in status.init_containers.iter_mut().take(begun.map_or(0, |i| i + 1)) {
        let ready = found.ready;
        lost(found);
        // A finished init container stays ready: that is what lets the pod be Initialized.
        found.ready = ready;
    }
    if !status.phase.is_terminal() {
        status.phase = Phase::Failed;
        for kind in ["Ready", "ContainersReady"] {
            if let Some(found) = status.conditions.iter_mut().find(|c| c.kind == kind) {
                found.reason = "PodFailed".to_owned();
                found.message.clear();
                found.since = if found.status { now } else { found.since };
                found.status = false;
            }
        }
    }
}
