//! One pod's whole life, asked for as a kubelet asks: by key, again after a failure, and with the
//! next attempt when what it finds has ended.

use anyhow::{Context, Result, ensure};
use rrun_cri_api::v1::*;
use rrun_cri_api::{Client, Cri};
use rrun_tests::harness::{Harness, WORK};
use std::future::Future;
use std::time::Duration;

/// A call that takes longer hangs: the shim's and the daemon's own patience is 5 s, and a census
/// looks around a hundred times meanwhile.
const LIMIT: Duration = Duration::from_secs(60);

/// A pod with one container.
pub struct Life {
    pod: PodSandboxConfig,
    container: ContainerConfig,
    handler: &'static str,
    /// Every pod and container that this life was told of.
    pods: Vec<String>,
    containers: Vec<String>,
}

/// The pods that are walked: between them they reach every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An address on the bridge; a control group that the daemon chooses.
    Plain,
    /// A reaper for a shared PID namespace, a TCP and a UDP port of the host, a control group
    /// that the client chose.
    Shared,
    /// A network of a CNI plugin.
    Plugins,
    /// A container that the command line of an OCI runtime makes.
    Program,
}

/// The handler of [`Shape::Program`].
pub const HANDLER: &str = "oci";

impl Life {
    /// A life that has not begun; `name` is its pod's.
    pub fn new(harness: &Harness, shape: Shape, name: &str) -> Self {
        let mut pod = harness.pod(name);
        let pid = match shape {
            Shape::Plain | Shape::Plugins | Shape::Program => NamespaceMode::Container,
            Shape::Shared => NamespaceMode::Pod,
        };
        let options = NamespaceOption { pid: pid.into(), ..Default::default() };
        if let Some(linux) = pod.linux.as_mut() {
            linux.security_context = Some(LinuxSandboxSecurityContext {
                namespace_options: Some(options.clone()),
                ..Default::default()
            });
            if shape == Shape::Plain {
                linux.cgroup_parent = String::new();
            }
        }
        if shape == Shape::Shared {
            pod.port_mappings = [(Protocol::Tcp, 8080), (Protocol::Udp, 8053)]
                .map(|(protocol, port)| PortMapping {
                    protocol: protocol.into(),
                    container_port: port,
                    host_port: 20_000 + port,
                    host_ip: String::new(),
                })
                .to_vec();
        }
        let mut container = harness.container("main", WORK, &["/bin/sleeper"]);
        container.mounts.push(Mount {
            container_path: "/volume".to_owned(),
            readonly: true,
            image: Some(ImageSpec { image: WORK.to_owned(), ..Default::default() }),
            ..Default::default()
        });
        if let Some(linux) = container.linux.as_mut() {
            linux.security_context = Some(LinuxContainerSecurityContext {
                namespace_options: Some(options),
                ..Default::default()
            });
        }
        let handler = if shape == Shape::Program { HANDLER } else { "" };
        Life { pod, container, handler, pods: Vec::new(), containers: Vec::new() }
    }

    /// The last pod that it was told of.
    pub fn pod(&self) -> &str {
        self.pods.last().map_or("", String::as_str)
    }

    /// The last container that it was told of.
    pub fn container(&self) -> &str {
        self.containers.last().map_or("", String::as_str)
    }

    fn uid(&self) -> &str {
        self.pod.metadata.as_ref().map_or("", |metadata| &metadata.uid)
    }

    /// The pods with this uid that the daemon lists.
    async fn listed(&self, client: &Client) -> Result<Vec<PodSandbox>> {
        let list = call("ListPodSandbox", client.list_pod_sandbox(Default::default())).await?;
        let mine = |pod: &PodSandbox| {
            pod.metadata.as_ref().is_some_and(|metadata| metadata.uid == self.uid())
        };
        Ok(list.items.into_iter().filter(mine).collect())
    }

    /// To a running container, from whatever there is.
    pub async fn up(&mut self, client: &Client) -> Result<()> {
        let listed = self.listed(client).await?;
        let ready = |pod: &&PodSandbox| pod.state() == PodSandboxState::SandboxReady;
        if let (false, None) = (listed.is_empty(), listed.iter().find(ready)) {
            for pod in &listed {
                stop_pod(client, &pod.id).await?;
            }
            let attempts = listed.iter().filter_map(|pod| pod.metadata.as_ref());
            let next = attempts.map(|metadata| metadata.attempt + 1).max();
            if let (Some(metadata), Some(next)) = (self.pod.metadata.as_mut(), next) {
                metadata.attempt = next;
            }
        }
        let runtime_handler = self.handler.to_owned();
        let request = RunPodSandboxRequest { config: Some(self.pod.clone()), runtime_handler };
        let pod = call("RunPodSandbox", client.run_pod_sandbox(request)).await?.pod_sandbox_id;
        if let Some(before) = listed.iter().find(ready) {
            ensure!(before.id == pod, "RunPodSandbox: a second pod under one key");
        }
        remember(&mut self.pods, &pod);
        self.run_container(client, &pod).await
    }

    /// Waits until no pod of it is ready.
    pub async fn lost(&self, client: &Client) -> Result<()> {
        let deadline = tokio::time::Instant::now() + LIMIT;
        let ready = |pod: &PodSandbox| pod.state() == PodSandboxState::SandboxReady;
        while self.listed(client).await?.iter().any(ready) {
            ensure!(tokio::time::Instant::now() < deadline, "the pod is still ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn run_container(&mut self, client: &Client, pod: &str) -> Result<()> {
        let filter = ContainerFilter { pod_sandbox_id: pod.to_owned(), ..Default::default() };
        let request = ListContainersRequest { filter: Some(filter) };
        let listed = call("ListContainers", client.list_containers(request)).await?.containers;
        let latest = listed.iter().max_by_key(|c| c.metadata.as_ref().map_or(0, |m| m.attempt));
        let state = latest.map(Container::state);
        if state == Some(ContainerState::ContainerRunning) {
            return Ok(());
        }
        let metadata = latest.and_then(|container| container.metadata.as_ref());
        if let (Some(ContainerState::ContainerExited), Some(latest), Some(metadata)) =
            (state, metadata, self.container.metadata.as_mut())
        {
            metadata.attempt = latest.attempt + 1;
        }
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(self.container.clone()),
            sandbox_config: Some(self.pod.clone()),
        };
        let id = call("CreateContainer", client.create_container(request)).await?.container_id;
        remember(&mut self.containers, &id);
        let request = StartContainerRequest { container_id: id.clone() };
        call("StartContainer", client.start_container(request)).await?;
        let request = ContainerStatusRequest { container_id: id, verbose: false };
        let status = call("ContainerStatus", client.container_status(request)).await?.status;
        let state = status.map(|status| status.state());
        ensure!(state == Some(ContainerState::ContainerRunning), "after its start: {state:?}");
        Ok(())
    }

    /// Ends and removes all that this life has made; each of its calls may be a repetition.
    pub async fn down(&mut self, client: &Client) -> Result<()> {
        for pod in self.listed(client).await? {
            remember(&mut self.pods, &pod.id);
        }
        let list = call("ListContainers", client.list_containers(Default::default())).await?;
        for container in list.containers {
            if self.pods.contains(&container.pod_sandbox_id) {
                remember(&mut self.containers, &container.id);
            }
        }
        for id in &self.containers {
            let request = StopContainerRequest { container_id: id.clone(), timeout: 0 };
            call("StopContainer", client.stop_container(request)).await?;
            let request = RemoveContainerRequest { container_id: id.clone() };
            call("RemoveContainer", client.remove_container(request)).await?;
        }
        for id in &self.pods {
            stop_pod(client, id).await?;
            let request = RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
            call("RemovePodSandbox", client.remove_pod_sandbox(request)).await?;
        }
        ensure!(self.listed(client).await?.is_empty(), "pods are listed after their removal");
        Ok(())
    }
}

async fn stop_pod(client: &Client, id: &str) -> Result<()> {
    let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    call("StopPodSandbox", client.stop_pod_sandbox(request)).await?;
    Ok(())
}

fn remember(known: &mut Vec<String>, id: &str) {
    if !known.iter().any(|other| other == id) {
        known.push(id.to_owned());
    }
}

async fn call<T, E>(verb: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    tokio::time::timeout(LIMIT, call).await.context("hangs").and_then(|r| Ok(r?)).context(verb)
}
