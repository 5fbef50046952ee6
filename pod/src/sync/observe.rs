//! What the runtime has of a pod: the whole state of the engine after a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rrun_cri_api::{Cri, v1};
use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::Meta;
use crate::translate::labels;

/// A sandbox as the runtime reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Counts up with each one that had to be made anew.
    pub attempt: u32,
    /// Whether it can hold containers.
    pub ready: bool,
    /// Whether it is in the node's network namespace.
    pub host_network: bool,
    /// Its addresses; `None` if the runtime reports no network at all.
    pub addresses: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Where one run of a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Made, not started.
    Created,
    /// Started.
    Running,
    /// Ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

impl RunState {
    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Created => "created",
            RunState::Running => "running",
            RunState::Exited => "exited",
            RunState::Unknown => "unknown",
        }
    }
}

/// Who a container's first process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxUser {
    /// User id.
    pub uid: i64,
    /// Group id.
    pub gid: i64,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
}

/// The limits that a runtime says are in force, where there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunResources {
    /// Thousandths of a core, from the CPU shares.
    pub cpu_request: Option<i64>,
    /// Thousandths of a core, from the CFS quota.
    pub cpu_limit: Option<i64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime's id.
    pub id: String,
    /// The container's name in the pod.
    pub name: String,
    /// The sandbox it is in.
    pub sandbox: String,
    /// Where it is in its life.
    pub state: RunState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started; zero if it was not.
    pub started_at: Timestamp,
    /// When it ended; zero if it has not.
    pub finished_at: Timestamp,
    /// Its exit code.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// The runtime's words, then its own (the termination message).
    pub message: String,
    /// The image as the runtime names it.
    pub image: String,
    /// The image's digest reference.
    pub image_ref: String,
    /// Hash of name and image that it was made from.
    pub hash: String,
    /// How often the container was started before.
    pub restart_count: u32,
    /// Its log on the node.
    pub log_path: PathBuf,
    /// The node's file with its last words.
    pub message_file: Option<PathBuf>,
    /// Whether the log's end may stand in for them.
    pub message_from_log: bool,
    /// The limits in force.
    pub resources: RunResources,
    /// Who it runs as, if the runtime says so.
    pub user: Option<LinuxUser>,
    /// Images that are mounted in it, by where.
    pub image_mounts: BTreeMap<String, String>,
}

/// Everything of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// All runs of all its containers.
    pub runs: Vec<Run>,
}

/// Ids and states: changes when something happened that is worth a full look.
pub type Fingerprint = BTreeMap<String, i32>;

impl Observed {
    /// The latest run of a container.
    pub fn latest(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// The addresses of the newest sandbox, if it is ready.
    pub fn addresses(&self) -> Vec<String> {
        let newest = self.sandboxes.first().filter(|s| s.ready);
        newest.and_then(|s| s.addresses.clone()).unwrap_or_default()
    }

    /// Whether nothing runs and nothing could.
    pub fn is_dead(&self) -> bool {
        !self.runs.iter().any(|run| run.state == RunState::Running)
            && !self.sandboxes.iter().any(|s| s.ready)
    }

    /// Runs in the newest sandbox.
    pub fn active(&self) -> impl Iterator<Item = &Run> {
        let newest = self.sandboxes.first().map(|s| s.id.as_str());
        self.runs.iter().filter(move |run| Some(run.sandbox.as_str()) == newest)
    }
}

/// A cheap look: two lists.
pub async fn fingerprint(cri: &dyn Cri, meta: &Meta) -> Result<Fingerprint> {
    let mut seen = Fingerprint::new();
    for sandbox in list_sandboxes(cri, meta).await? {
        seen.insert(sandbox.id, sandbox.state);
    }
    for container in list_containers(cri, meta).await? {
        seen.insert(container.id, container.state);
    }
    Ok(seen)
}

async fn list_sandboxes(cri: &dyn Cri, meta: &Meta) -> Result<Vec<v1::PodSandbox>> {
    let filter =
        v1::PodSandboxFilter { label_selector: labels::selector(meta), ..Default::default() };
    let reply = cri.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) }).await;
    Ok(reply.map_err(|e| Error::status("list sandboxes", &e))?.items)
}

async fn list_containers(cri: &dyn Cri, meta: &Meta) -> Result<Vec<v1::Container>> {
    let filter =
        v1::ContainerFilter { label_selector: labels::selector(meta), ..Default::default() };
    let reply = cri.list_containers(v1::ListContainersRequest { filter: Some(filter) }).await;
    Ok(reply.map_err(|e| Error::status("list containers", &e))?.containers)
}

/// A full look: the status of everything. What vanishes in between is left out.
pub async fn observe(cri: &dyn Cri, meta: &Meta) -> Result<(Observed, Fingerprint)> {
    let mut seen = Observed::default();
    let mut fingerprint = Fingerprint::new();
    for item in list_sandboxes(cri, meta).await? {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: item.id, verbose: false };
        match cri.pod_sandbox_status(request).await {
            Ok(reply) => {
                if let Some(status) = reply.status {
                    fingerprint.insert(status.id.clone(), status.state);
                    seen.sandboxes.push(sandbox(status));
                }
            }
            Err(e) if e.code() == Code::NotFound => {}
            Err(e) => return Err(Error::status("sandbox status", &e)),
        }
    }
    for item in list_containers(cri, meta).await? {
        let request = v1::ContainerStatusRequest { container_id: item.id, verbose: false };
        match cri.container_status(request).await {
            Ok(reply) => {
                if let Some(status) = reply.status {
                    fingerprint.insert(status.id.clone(), status.state);
                    seen.runs.push(run(status, item.pod_sandbox_id));
                }
            }
            Err(e) if e.code() == Code::NotFound => {}
            Err(e) => return Err(Error::status("container status", &e)),
        }
    }
    seen.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
    seen.runs.sort_by_key(|r| std::cmp::Reverse((r.created_at, r.restart_count)));
    Ok((seen, fingerprint))
}

fn sandbox(status: v1::PodSandboxStatus) -> Sandbox {
    let options = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options);
    let addresses = status.network.map(|network| {
        let more = network.additional_ips.into_iter().map(|ip| ip.ip);
        std::iter::once(network.ip).chain(more).filter(|ip| !ip.is_empty()).collect()
    });
    Sandbox {
        id: status.id,
        attempt: status.metadata.map_or(0, |m| m.attempt),
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        host_network: options.is_some_and(|o| o.network == v1::NamespaceMode::Node as i32),
        addresses,
        created_at: Timestamp::from_nanos(status.created_at),
    }
}

fn run(status: v1::ContainerStatus, sandbox: String) -> Run {
    let note = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let name = status.labels.get(labels::CONTAINER_NAME).cloned();
    let path = note(labels::MESSAGE_PATH);
    let message_file = status
        .mounts
        .iter()
        .find(|m| !path.is_empty() && m.container_path == path)
        .map(|m| PathBuf::from(&m.host_path));
    let image_mounts = status.mounts.iter().filter_map(image_mount).collect();
    let attempt = status.metadata.as_ref().map_or(0, |m| m.attempt);
    Run {
        name: name.unwrap_or_else(|| status.metadata.clone().map(|m| m.name).unwrap_or_default()),
        sandbox,
        state: match v1::ContainerState::try_from(status.state) {
            Ok(v1::ContainerState::ContainerCreated) => RunState::Created,
            Ok(v1::ContainerState::ContainerRunning) => RunState::Running,
            Ok(v1::ContainerState::ContainerExited) => RunState::Exited,
            _ => RunState::Unknown,
        },
        created_at: Timestamp::from_nanos(status.created_at),
        started_at: Timestamp::from_nanos(status.started_at),
        finished_at: Timestamp::from_nanos(status.finished_at),
        exit_code: status.exit_code,
        hash: note(labels::HASH),
        restart_count: note(labels::RESTART_COUNT).parse().unwrap_or(attempt),
        message_from_log: note(labels::MESSAGE_POLICY) == "FallbackToLogsOnError",
        image: status.image.map(|i| i.image).unwrap_or_default(),
        image_ref: status.image_ref,
        log_path: status.log_path.into(),
        message_file,
        resources: status.resources.and_then(|r| r.linux).map(resources).unwrap_or_default(),
        user: status.user.and_then(|user| user.linux).map(|user| LinuxUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: user.supplemental_groups,
        }),
        reason: status.reason,
        message: status.message,
        image_mounts,
        id: status.id,
    }
}

fn image_mount(mount: &v1::Mount) -> Option<(String, String)> {
    let image = mount.image.as_ref()?;
    let told = if image.image_ref.is_empty() { &image.image } else { &image.image_ref };
    Some((mount.container_path.clone(), told.clone()))
}

/// The kernel's figures as those of a manifest (`toKubeContainerResources`).
fn resources(told: v1::LinuxContainerResources) -> RunResources {
    let limit = (told.cpu_period > 0 && told.cpu_quota > 0)
        .then(|| told.cpu_quota.saturating_mul(1_000) / told.cpu_period);
    let request = (told.cpu_shares >= 2)
        .then(|| told.cpu_shares.saturating_mul(1_000).saturating_add(1_023) / 1_024);
    RunResources {
        cpu_request: request,
        cpu_limit: limit.filter(|milli| *milli > 0),
        memory_limit: (told.memory_limit_in_bytes > 0).then_some(told.memory_limit_in_bytes),
    }
}
