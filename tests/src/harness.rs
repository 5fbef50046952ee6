//! Sandbox, registry, daemon and client together: what a suite over CRI starts from.

use crate::daemon::Daemon;
use crate::images;
use crate::leaks::{Snapshot, View};
use crate::registry::Registry;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result};
use rrun_cri_api::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxPodSandboxConfig, PodSandboxConfig,
    PodSandboxMetadata, PullImageRequest,
};
use rrun_cri_api::{Client, Cri};
use std::path::Path;

/// Our own image with the verbs of `tests/programs/work.c` in `/bin`.
pub const WORK: &str = "images.rrun.test/work:latest";
/// Debian's busybox with a shell.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";

/// A daemon in a sandbox with the test images behind it. Dropped, all of it ends.
pub struct Harness {
    /// Speaks to the daemon; connects again after a restart.
    pub client: Client,
    // In the order of their end.
    daemon: Option<Daemon>,
    registry: Registry,
    sandbox: Sandbox,
    config: String,
}

impl Harness {
    /// `rrund` with its defaults.
    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// `rrund` with this TOML; its `[cgroup]`, if there is one, comes last and gets the sandbox'
    /// own parent.
    pub async fn start_with(config: &str) -> Result<Self> {
        let (sandbox, registry) = Self::ground()?;
        registry.write_mirrors(&sandbox.inside("/etc/rrun/certs.d"))?;
        let daemon = Daemon::rrund(&sandbox, config)?;
        Self::join(sandbox, registry, daemon, config).await
    }

    /// containerd and runc instead: a suite that holds there as well tests CRI, not rrun.
    pub async fn peer() -> Result<Self> {
        let (sandbox, registry) = Self::ground()?;
        let certs = sandbox.root().join("certs.d");
        registry.write_mirrors(&certs)?;
        let daemon = Daemon::containerd(&sandbox, &certs)?;
        Self::join(sandbox, registry, daemon, "").await
    }

    fn ground() -> Result<(Sandbox, Registry)> {
        let sandbox = Sandbox::new()?;
        let store = images::store()?;
        let options = Registry::options(&store.storage).read_only().behind(&sandbox.prefix());
        Ok((sandbox, options.start()?))
    }

    async fn join(s: Sandbox, registry: Registry, daemon: Daemon, config: &str) -> Result<Self> {
        let client = Client::connect(&daemon.endpoint()).await.context(daemon.endpoint())?;
        let config = config.to_owned();
        Ok(Self { client, daemon: Some(daemon), registry, sandbox: s, config })
    }

    /// The namespaces and folders.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The registry, which listens on the sandbox' loopback device.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The daemon, unless it was killed.
    pub fn daemon(&self) -> Option<&Daemon> {
        self.daemon.as_ref()
    }

    /// `kill -9` of the daemon.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// What it is started with from the next start on: as [`Harness::start_with`].
    pub fn configure(&mut self, config: &str) {
        config.clone_into(&mut self.config);
    }

    /// Starts `rrund` again on the same state.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.daemon = Some(Daemon::rrund(&self.sandbox, &self.config)?);
        Ok(())
    }

    /// The same by the `rrund` of another folder.
    pub fn restart_in(&mut self, folder: &Path) -> Result<()> {
        self.kill();
        self.daemon = Some(Daemon::rrund_in(folder, &self.sandbox)?);
        Ok(())
    }

    /// The same, with more in its environment (where it shall die, for example), and with a
    /// client that does not have to find out that its connection has ended.
    pub async fn restart_with(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.kill();
        let mut daemon = Daemon::rrund_with(&self.sandbox, &self.config, environment)?;
        daemon.answers().await?;
        let endpoint = daemon.endpoint();
        self.daemon = Some(daemon);
        self.client = Client::connect(&endpoint).await.context(endpoint)?;
        Ok(())
    }

    /// Whether the daemon has died or was killed.
    pub fn has_ended(&mut self) -> Result<bool> {
        self.daemon.as_mut().map_or(Ok(true), Daemon::has_ended)
    }

    /// Everything in the sandbox, to be looked at before and after.
    pub fn view(&self) -> View {
        self.sandbox.view()
    }

    /// What is there now. Pull images, and run and remove one pod, before the first look: bridges
    /// and the registers of images and addresses are made once and stay.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.view())
    }

    /// Pulls an image; the answer is its reference for [`Harness::container`].
    pub async fn pull(&self, image: &str) -> Result<String> {
        let spec = ImageSpec { image: image.to_owned(), ..Default::default() };
        let request = PullImageRequest { image: Some(spec), ..Default::default() };
        let answer = self.client.pull_image(request).await.with_context(|| image.to_owned())?;
        Ok(answer.image_ref)
    }

    /// A pod with its own network and log folder. The group above it is the sandbox's: over CRI
    /// a pod's cgroup parent is the client's to make and remove, so all pods share one.
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.sandbox.root().join("logs").join(name).display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.sandbox.cgroup_parent(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// A container that logs to `<name>.log` in its pod's folder.
    pub fn container(&self, name: &str, image: &str, command: &[&str]) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: format!("{name}.log"),
            linux: Some(Default::default()),
            ..Default::default()
        }
    }
}
