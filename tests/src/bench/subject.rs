//! What is measured over CRI.

use crate::daemon::Daemon;
use crate::harness::WORK;
use crate::images;
use crate::leaks::View;
use crate::registry::Registry;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result};
use rrun_cri_api::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PullImageRequest,
};
use rrun_cri_api::{Client, Cri};
use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// After so long a call counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The host of the large images.
pub const LARGE_HOST: &str = "large.rrun.test";

/// A CRI server with the workload's image pulled.
pub struct Subject {
    /// How the table calls it.
    pub name: String,
    /// Its client.
    pub client: Client,
    /// What the bench itself started, and so may look into.
    pub own: Option<OwnDaemon>,
}

/// A daemon in a sandbox, with registries.
pub struct OwnDaemon {
    /// The server. In the order of their end, as the rest.
    pub daemon: Daemon,
    _registries: Vec<Registry>,
    sandbox: Sandbox,
}

/// As the peers' own guides have it, with iptables as most nodes do. containerd takes the first
/// file of the folder.
const CONFLIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "bench",
  "plugins": [
    {
      "type": "bridge", "bridge": "bench0", "isGateway": true, "ipMasq": true,
      "ipam": {
        "type": "host-local", "ranges": [[{ "subnet": "10.89.0.0/16" }]],
        "routes": [{ "dst": "0.0.0.0/0" }]
      }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
"#;

impl Subject {
    /// `rrund` with its defaults, and the built-in network.
    pub async fn rrund(large: Option<&Path>) -> Result<Self> {
        Self::own("rrund", large, |sandbox| Daemon::rrund(sandbox, "")).await
    }

    /// The same with layers of this format, by which the table calls it.
    pub async fn rrund_layers(format: &str, large: Option<&Path>) -> Result<Self> {
        let config = format!("[images]\nlayers = \"{format}\"\n");
        Self::own(format, large, |sandbox| Daemon::rrund(sandbox, &config)).await
    }

    /// The same of another build, whose programs are in `folder`.
    pub async fn before(folder: &Path, large: Option<&Path>) -> Result<Self> {
        Self::own("before", large, |sandbox| Daemon::rrund_in(folder, sandbox)).await
    }

    async fn own(
        name: &str,
        large: Option<&Path>,
        start: impl FnOnce(&Sandbox) -> Result<Daemon>,
    ) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        spread(&[sandbox.root(), &sandbox.state()])?;
        let certs = sandbox.inside("/etc/rrun/certs.d");
        let registries = registries(&sandbox, &certs, large)?;
        let daemon = start(&sandbox)?;
        Self::over(name, OwnDaemon { daemon, _registries: registries, sandbox }).await
    }

    /// containerd with runc, and the bridge and portmap plugins with masquerading.
    pub async fn containerd(large: Option<&Path>) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        spread(&[sandbox.root()])?;
        let certs = sandbox.root().join("certs.d");
        let registries = registries(&sandbox, &certs, large)?;
        let confs = sandbox.inside("/etc/cni/net.d");
        std::fs::create_dir_all(&confs)?;
        std::fs::write(confs.join("05-bench.conflist"), CONFLIST)?;
        let daemon = Daemon::containerd(&sandbox, &certs)?;
        Self::over("containerd + runc", OwnDaemon { daemon, _registries: registries, sandbox })
            .await
    }

    /// A server that runs already, and can pull `images.rrun.test/work`.
    pub async fn endpoint(endpoint: &str) -> Result<Self> {
        let client = Client::connect(endpoint).await?;
        let subject = Self { name: endpoint.to_owned(), client, own: None };
        subject.pull(WORK).await?;
        Ok(subject)
    }

    async fn over(name: &str, own: OwnDaemon) -> Result<Self> {
        let client = Client::connect(&own.daemon.endpoint()).await?;
        let subject = Self { name: name.to_owned(), client, own: Some(own) };
        subject.pull(WORK).await?;
        Ok(subject)
    }

    /// Pulls an image.
    pub async fn pull(&self, image: &str) -> Result<()> {
        let request = PullImageRequest { image: Some(spec(image)), ..Default::default() };
        let pulled = self.answer("PullImage", self.client.pull_image(request)).await;
        pulled.with_context(|| image.to_owned())?;
        Ok(())
    }

    /// What a call answers, within a minute.
    pub async fn answer<T, E>(
        &self,
        call: &str,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let what = || format!("{}: {call}", self.name);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.with_context(|| format!("{}: no answer in {PATIENCE:?}", what()))?.with_context(what)
    }

    /// A pod with a log folder, in the pod network or the host's.
    pub fn pod(&self, name: &str, network: NamespaceMode) -> PodSandboxConfig {
        let (logs, cgroup_parent) = match &self.own {
            Some(own) => (own.sandbox.root().join("logs"), own.sandbox.cgroup_parent()),
            None => (std::env::temp_dir().join("rrun-bench-logs"), String::new()),
        };
        let options = NamespaceOption {
            network: network.into(),
            pid: NamespaceMode::Container.into(),
            ..Default::default()
        };
        let security =
            LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        // A pod of the host's network has the host's name.
        let hostname = if network == NamespaceMode::Pod { name } else { "" };
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "bench".to_owned(),
                attempt: 0,
            }),
            hostname: hostname.to_owned(),
            log_directory: logs.join(name).display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent,
                security_context: Some(security),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

impl OwnDaemon {
    /// Below it is all that the daemon stores.
    pub fn root(&self) -> &Path {
        self.sandbox.root()
    }

    /// Where the daemon's processes are found.
    pub fn view(&self) -> View {
        self.sandbox.view()
    }
}

/// A container that says so when it is ready to be told to end, which it then does at once. (A
/// first process of a PID namespace does not get a SIGTERM that it does not handle yet: it would
/// be killed after the whole grace period, and that by a fast runtime alone.)
pub fn sleeper() -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(spec(WORK)),
        command: ["/bin/work", "tree", "0"].map(str::to_owned).to_vec(),
        log_path: "main.log".to_owned(),
        linux: Some(Default::default()),
        ..Default::default()
    }
}

/// An image by its name.
pub fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..Default::default() }
}

/// Has ext4 put what is in a folder far from everything else, as it does with the folders of the
/// root (chattr(1), `T`), and so far from what a bench has removed before.
fn spread(folders: &[&Path]) -> Result<()> {
    // Refused by other file systems, which have no need of it.
    let mut command = Command::new("chattr");
    command.arg("+T").args(folders).stderr(Stdio::null());
    command.status().context("chattr")?;
    Ok(())
}

/// Of the test images, and of large ones where they are wanted.
pub fn registries(sandbox: &Sandbox, certs: &Path, large: Option<&Path>) -> Result<Vec<Registry>> {
    let behind =
        |storage: &Path| Registry::options(storage).read_only().behind(&sandbox.prefix()).start();
    let small = behind(&images::store()?.storage)?;
    small.write_mirrors(certs)?;
    let mut all = vec![small];
    if let Some(storage) = large {
        let large = behind(storage)?;
        large.write_mirror(certs, LARGE_HOST)?;
        all.push(large);
    }
    Ok(all)
}
