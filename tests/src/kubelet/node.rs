//! What a kubelet needs of the harness, and what it leaves.

use crate::harness::Harness;
use crate::leaks::View;
use anyhow::{Result, bail};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::{
    NamespaceMode, PodSandboxConfig, RemovePodSandboxRequest, RunPodSandboxRequest,
};
use std::fs;
use std::time::{Duration, Instant};

/// The kubelet collects what is dead once a minute.
const COLLECTION: Duration = Duration::from_secs(180);

impl Harness {
    /// Bridges and stores are made once and stay.
    pub async fn warm(&self) -> Result<()> {
        self.run_and_remove(self.pod("warm")).await
    }

    /// The same where pods have no network yet.
    pub async fn warm_on_host(&self) -> Result<()> {
        let mut pod = self.pod("warm");
        let linux = pod.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().network = NamespaceMode::Node as i32;
        self.run_and_remove(pod).await
    }

    async fn run_and_remove(&self, pod: PodSandboxConfig) -> Result<()> {
        let request = RunPodSandboxRequest { config: Some(pod), ..Default::default() };
        let pod_sandbox_id = self.client.run_pod_sandbox(request).await?.pod_sandbox_id;
        self.client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await?;
        Ok(())
    }

    /// The kubelet leaves links to logs, its device plugins' socket, and its root folder bound onto
    /// itself; the daemon is another process after its restart; init reaps when it comes to it.
    pub fn kubelet_view(&self) -> View {
        let view = self.view().allow(" rrund").allow("(zombie)").allow("/kubelet/root (");
        view.allow("/var/log/upper/containers").allow("/var/lib/upper/kubelet")
    }

    /// Removes the kubelet's own groups, which it never does. One that is not empty stays, and is
    /// seen.
    pub fn remove_kubelet_groups(&self) -> Result<()> {
        let parent = self.sandbox().cgroup_parent();
        for hierarchy in fs::read_dir("/sys/fs/cgroup")? {
            let top = hierarchy?.path().join(&parent[1..]).join("kubepods");
            for group in [top.join("besteffort"), top.join("burstable"), top] {
                let _ = fs::remove_dir(group);
            }
        }
        Ok(())
    }

    /// Waits until the kubelet has removed everything over CRI.
    pub async fn emptied(&self) -> Result<()> {
        let deadline = Instant::now() + COLLECTION;
        loop {
            let pods = self.client.list_pod_sandbox(Default::default()).await?.items;
            let all = self.client.list_containers(Default::default()).await?.containers;
            if pods.is_empty() && all.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} pods and {} containers are left", pods.len(), all.len());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
