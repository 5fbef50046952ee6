//! A runtime and a node in memory, for tests in virtual time. Containers live as scripted.

mod events;
mod images;
mod node;
mod resources;
mod surface;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rrun_cri_api::v1::*;
use tonic::Status;

pub use node::FakeNode;

use crate::clock::{Clock, Timestamp};
use crate::translate::labels;

/// One run of a container.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// How long it lives by itself; `None` for as long as it is let.
    pub lives: Option<Duration>,
    /// With which exit code it ends then.
    pub code: i32,
    /// How long it takes to heed a stop signal.
    pub stops_in: Duration,
}

impl Life {
    /// Until it is stopped, at once.
    pub const FOREVER: Life = Life { lives: None, code: 0, stops_in: Duration::ZERO };

    /// `seconds`, then `code`.
    pub const fn ends(seconds: u64, code: i32) -> Life {
        Life { lives: Some(Duration::from_secs(seconds)), code, stops_in: Duration::ZERO }
    }

    /// Heeds the stop signal after `seconds`.
    pub const fn stops_in(seconds: u64) -> Life {
        Life { lives: None, code: 0, stops_in: Duration::from_secs(seconds) }
    }
}

/// What an exec does: how long, then which exit code or which error.
#[derive(Clone, Debug)]
pub struct Exec {
    pub takes: Duration,
    pub result: Result<i32, Status>,
}

impl Exec {
    pub fn code(code: i32) -> Exec {
        Exec { takes: Duration::ZERO, result: Ok(code) }
    }
}

type ExecScript = Box<dyn Fn(u64) -> Exec + Send + Sync>;

#[derive(Clone, Debug)]
struct FakeSandbox {
    id: String,
    config: PodSandboxConfig,
    ready: bool,
    created: Timestamp,
}

#[derive(Clone, Debug)]
struct FakeContainer {
    id: String,
    sandbox: String,
    config: ContainerConfig,
    created: Timestamp,
    started: Option<Timestamp>,
    ends: Option<(Timestamp, i32)>,
    stops_in: Duration,
}

#[derive(Default)]
struct World {
    sandboxes: Vec<FakeSandbox>,
    sandbox_takes: Duration,
    containers: Vec<FakeContainer>,
    starts: BTreeMap<String, usize>,
    journal: Vec<(u64, String)>,
    next: usize,
}

/// The runtime.
pub struct FakeCri {
    clock: Clock,
    epoch: Timestamp,
    world: Mutex<World>,
    lives: Mutex<BTreeMap<String, Vec<Life>>>,
    execs: Mutex<BTreeMap<String, ExecScript>>,
    /// Pulls that fail before one succeeds, by image.
    bad_pulls: Mutex<BTreeMap<String, usize>>,
    /// How many seconds a pull takes.
    pub pull_takes: AtomicU64,
    /// Images that only this user may pull.
    pub private: Mutex<BTreeMap<String, String>>,
    /// Whose credentials pulls have shown.
    pub shown: Mutex<Vec<Option<String>>>,
    /// Bytes that every container uses.
    pub memory_used: Mutex<u64>,
    /// Whether nobody answers.
    pub away: Mutex<bool>,
    events: events::FakeEvents,
    lists: AtomicUsize,
}

impl FakeCri {
    pub fn new(clock: Clock) -> Self {
        FakeCri {
            epoch: clock.now(),
            clock,
            world: Mutex::default(),
            lives: Mutex::default(),
            execs: Mutex::default(),
            bad_pulls: Mutex::default(),
            pull_takes: AtomicU64::default(),
            private: Mutex::default(),
            shown: Mutex::default(),
            memory_used: Mutex::default(),
            away: Mutex::default(),
            events: Default::default(),
            lists: AtomicUsize::new(0),
        }
    }

    /// The lives of a container's runs; the last one repeats.
    pub fn script(&self, name: &str, lives: &[Life]) {
        self.lives.lock().unwrap().insert(name.to_owned(), lives.to_vec());
    }

    /// What `command` does, `seconds` after the world began.
    pub fn exec(&self, command: &str, script: impl Fn(u64) -> Exec + Send + Sync + 'static) {
        self.execs.lock().unwrap().insert(command.to_owned(), Box::new(script));
    }

    pub fn fail_pulls(&self, image: &str, times: usize) {
        self.bad_pulls.lock().unwrap().insert(image.to_owned(), times);
    }

    /// Everything that was done, with the second it was done in.
    pub fn journal(&self) -> Vec<(u64, String)> {
        self.world.lock().unwrap().journal.clone()
    }

    /// The seconds in which an entry was made.
    pub fn when(&self, entry: &str) -> Vec<u64> {
        self.journal().into_iter().filter(|(_, e)| e == entry).map(|(t, _)| t).collect()
    }

    /// How many containers there are, dead ones included.
    pub fn containers(&self) -> usize {
        self.world.lock().unwrap().containers.len()
    }

    /// The mount at a path of the newest container.
    pub fn mount(&self, path: &str) -> Option<Mount> {
        let world = self.world.lock().unwrap();
        let mounts = &world.containers.last()?.config.mounts;
        mounts.iter().find(|mount| mount.container_path == path).cloned()
    }

    pub fn slow_sandboxes(&self, takes: Duration) {
        self.world.lock().unwrap().sandbox_takes = takes;
    }

    /// The name servers that the newest sandbox was given.
    pub fn name_servers(&self) -> Vec<String> {
        let world = self.world.lock().unwrap();
        let dns = world.sandboxes.last().and_then(|sandbox| sandbox.config.dns_config.clone());
        dns.unwrap_or_default().servers
    }

    pub fn sandboxes(&self) -> usize {
        self.world.lock().unwrap().sandboxes.len()
    }

    /// The entries alone.
    pub fn entries(&self) -> Vec<String> {
        self.journal().into_iter().map(|(_, e)| e).collect()
    }

    /// Takes the newest sandbox and its containers down, as a reboot would.
    pub fn lose_sandbox(&self) {
        let now = self.clock.now();
        let mut world = self.world.lock().unwrap();
        let id = world.sandboxes.last_mut().map(|s| {
            s.ready = false;
            s.id.clone()
        });
        for container in world.containers.iter_mut().filter(|c| Some(&c.sandbox) == id.as_ref()) {
            let over = container.ends.is_some_and(|(at, _)| at <= now);
            if container.started.is_some() && !over {
                container.ends = Some((now, 255));
            }
        }
    }

    fn seconds(&self) -> u64 {
        self.clock.now().since(self.epoch).as_secs()
    }

    fn note(&self, text: String) {
        let at = self.seconds();
        self.world.lock().unwrap().journal.push((at, text));
    }

    fn state(&self, container: &FakeContainer) -> ContainerState {
        let now = self.clock.now();
        match (container.started, container.ends) {
            (None, _) => ContainerState::ContainerCreated,
            (Some(_), Some((at, _))) if at <= now => ContainerState::ContainerExited,
            _ => ContainerState::ContainerRunning,
        }
    }

    fn container(&self, id: &str) -> Result<FakeContainer, Status> {
        let world = self.world.lock().unwrap();
        world.containers.iter().find(|c| c.id == id).cloned().ok_or_else(|| Status::not_found(id))
    }

    async fn do_version(&self, _: VersionRequest) -> Result<VersionResponse, Status> {
        Ok(VersionResponse { runtime_name: "fake".into(), ..Default::default() })
    }

    async fn do_run_pod_sandbox(
        &self,
        r: RunPodSandboxRequest,
    ) -> Result<RunPodSandboxResponse, Status> {
        let config = r.config.unwrap();
        let attempt = config.metadata.as_ref().unwrap().attempt;
        self.note(format!("sandbox {attempt}"));
        let takes = self.world.lock().unwrap().sandbox_takes;
        tokio::time::sleep(takes).await;
        let created = self.clock.now();
        let mut world = self.world.lock().unwrap();
        world.next += 1;
        let id = format!("s{}", world.next);
        world.sandboxes.push(FakeSandbox { id: id.clone(), config, ready: true, created });
        Ok(RunPodSandboxResponse { pod_sandbox_id: id })
    }

    async fn do_stop_pod_sandbox(
        &self,
        r: StopPodSandboxRequest,
    ) -> Result<StopPodSandboxResponse, Status> {
        self.note("stop sandbox".into());
        let mut world = self.world.lock().unwrap();
        for sandbox in world.sandboxes.iter_mut().filter(|s| s.id == r.pod_sandbox_id) {
            sandbox.ready = false;
        }
        Ok(StopPodSandboxResponse {})
    }

    async fn do_remove_pod_sandbox(
        &self,
        r: RemovePodSandboxRequest,
    ) -> Result<RemovePodSandboxResponse, Status> {
        self.world.lock().unwrap().sandboxes.retain(|s| s.id != r.pod_sandbox_id);
        Ok(RemovePodSandboxResponse {})
    }

    async fn do_list_pod_sandbox(
        &self,
        r: ListPodSandboxRequest,
    ) -> Result<ListPodSandboxResponse, Status> {
        // Every field of it by name: none that is new is passed over.
        let PodSandboxFilter { id, state, label_selector } = r.filter.unwrap_or_default();
        let world = self.world.lock().unwrap();
        let found = world.sandboxes.iter().filter(|s| {
            is_meant(&s.id, &id)
                && state.is_none_or(|wanted| wanted.state == i32::from(!s.ready))
                && has(&s.config.labels, &label_selector)
        });
        let items = found.map(|s| PodSandbox {
            id: s.id.clone(),
            metadata: s.config.metadata.clone(),
            state: i32::from(!s.ready),
            created_at: s.created.nanos(),
            labels: s.config.labels.clone(),
            ..Default::default()
        });
        Ok(ListPodSandboxResponse { items: items.collect() })
    }

    async fn do_pod_sandbox_status(
        &self,
        r: PodSandboxStatusRequest,
    ) -> Result<PodSandboxStatusResponse, Status> {
        let world = self.world.lock().unwrap();
        let found = world.sandboxes.iter().find(|s| s.id == r.pod_sandbox_id);
        let s = found.ok_or_else(|| Status::not_found("sandbox"))?;
        let ip = if s.ready { "10.0.0.2" } else { "" };
        let status = PodSandboxStatus {
            id: s.id.clone(),
            metadata: s.config.metadata.clone(),
            state: i32::from(!s.ready),
            created_at: s.created.nanos(),
            network: Some(PodSandboxNetworkStatus { ip: ip.into(), ..Default::default() }),
            labels: s.config.labels.clone(),
            ..Default::default()
        };
        Ok(PodSandboxStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn do_create_container(
        &self,
        r: CreateContainerRequest,
    ) -> Result<CreateContainerResponse, Status> {
        let created = self.clock.now();
        let mut world = self.world.lock().unwrap();
        world.next += 1;
        let id = format!("c{}", world.next);
        world.containers.push(FakeContainer {
            id: id.clone(),
            sandbox: r.pod_sandbox_id,
            config: r.config.unwrap(),
            created,
            started: None,
            ends: None,
            stops_in: Duration::ZERO,
        });
        Ok(CreateContainerResponse { container_id: id })
    }

    async fn do_start_container(
        &self,
        r: StartContainerRequest,
    ) -> Result<StartContainerResponse, Status> {
        let name = self.container(&r.container_id)?.config.metadata.unwrap().name;
        self.note(format!("start {name}"));
        let now = self.clock.now();
        let mut world = self.world.lock().unwrap();
        let count = world.starts.entry(name.clone()).or_default();
        let nth = *count;
        *count += 1;
        let lives = self.lives.lock().unwrap();
        let life = lives.get(&name).and_then(|l| l.get(nth).or(l.last())).copied();
        let life = life.unwrap_or(Life::FOREVER);
        let container = world.containers.iter_mut().find(|c| c.id == r.container_id).unwrap();
        container.started = Some(now);
        container.ends = life.lives.map(|l| (now.after(l), life.code));
        container.stops_in = life.stops_in;
        Ok(StartContainerResponse {})
    }

    async fn do_stop_container(
        &self,
        r: StopContainerRequest,
    ) -> Result<StopContainerResponse, Status> {
        let container = self.container(&r.container_id)?;
        let name = container.config.metadata.clone().unwrap().name;
        self.note(format!("stop {name} {}", r.timeout));
        if self.state(&container) != ContainerState::ContainerRunning {
            return Ok(StopContainerResponse {});
        }
        let bound = Duration::from_secs(r.timeout.unsigned_abs());
        tokio::time::sleep(container.stops_in.min(bound)).await;
        let code = if container.stops_in > bound { 137 } else { 0 };
        let now = self.clock.now();
        let mut world = self.world.lock().unwrap();
        if let Some(container) = world.containers.iter_mut().find(|c| c.id == r.container_id)
            && container.ends.is_none_or(|(at, _)| at > now)
        {
            container.ends = Some((now, code));
        }
        drop(world);
        self.note(format!("ended {name}"));
        Ok(StopContainerResponse {})
    }

    async fn do_remove_container(
        &self,
        r: RemoveContainerRequest,
    ) -> Result<RemoveContainerResponse, Status> {
        self.world.lock().unwrap().containers.retain(|c| c.id != r.container_id);
        Ok(RemoveContainerResponse {})
    }

    async fn do_list_containers(
        &self,
        r: ListContainersRequest,
    ) -> Result<ListContainersResponse, Status> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let ContainerFilter { id, state, pod_sandbox_id, label_selector } =
            r.filter.unwrap_or_default();
        let containers = self.world.lock().unwrap().containers.clone();
        let found = containers.iter().filter(|c| {
            is_meant(&c.id, &id)
                && state.is_none_or(|wanted| wanted.state() == self.state(c))
                && is_meant(&c.sandbox, &pod_sandbox_id)
                && has(&c.config.labels, &label_selector)
        });
        let containers = found.map(|c| Container {
            id: c.id.clone(),
            pod_sandbox_id: c.sandbox.clone(),
            state: self.state(c) as i32,
            labels: c.config.labels.clone(),
            image_id: c.config.image.clone().unwrap_or_default().image,
            ..Default::default()
        });
        Ok(ListContainersResponse { containers: containers.collect() })
    }

    async fn do_container_status(
        &self,
        r: ContainerStatusRequest,
    ) -> Result<ContainerStatusResponse, Status> {
        let c = self.container(&r.container_id)?;
        let state = self.state(&c);
        let end = c.ends.filter(|_| state == ContainerState::ContainerExited);
        let code = end.map_or(0, |(_, code)| code);
        let reason = match (end, code) {
            (None, _) => "",
            (_, 0) => "Completed",
            _ => "Error",
        };
        let status = ContainerStatus {
            id: c.id,
            metadata: c.config.metadata,
            state: state as i32,
            created_at: c.created.nanos(),
            started_at: c.started.map_or(0, Timestamp::nanos),
            finished_at: end.map_or(0, |(at, _)| at.nanos()),
            exit_code: code,
            image: c.config.image,
            image_ref: "img@sha256:00".into(),
            reason: reason.into(),
            labels: c.config.labels,
            annotations: c.config.annotations,
            mounts: c.config.mounts,
            log_path: "/logs/0.log".into(),
            resources: c
                .config
                .linux
                .map(|linux| ContainerResources { linux: linux.resources, ..Default::default() }),
            ..Default::default()
        };
        Ok(ContainerStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn do_exec_sync(&self, r: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        let container = self.container(&r.container_id)?;
        let name = &container.config.labels[labels::CONTAINER_NAME];
        self.note(format!("exec {name} {}", r.cmd[0]));
        let at = self.seconds();
        let exec = self.execs.lock().unwrap().get(&r.cmd[0]).map(|script| script(at));
        let exec = exec.unwrap_or_else(|| Exec::code(0));
        let bound = Duration::from_secs(r.timeout.unsigned_abs());
        if r.timeout > 0 && exec.takes > bound {
            tokio::time::sleep(bound).await;
            return Err(Status::deadline_exceeded("command timed out"));
        }
        tokio::time::sleep(exec.takes).await;
        let exit_code = exec.result?;
        Ok(ExecSyncResponse { exit_code, stdout: b"out".to_vec(), ..Default::default() })
    }
}

/// Whether a filter means what has this id.
fn is_meant(id: &str, wanted: &str) -> bool {
    wanted.is_empty() || id == wanted
}

/// Whether something with these labels is selected.
fn has(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests;
