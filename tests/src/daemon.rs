//! Daemons in a sandbox: `rrund`, or containerd as the peer that tests the tests.

use crate::place;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to serve, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// A running CRI server; dropped, it is killed, and its pods live until the sandbox goes.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    /// A cgroup that it makes at the top of every hierarchy and never removes.
    debris: Option<&'static str>,
}

impl Daemon {
    /// `rrund` with its defaults and images from `/etc/rrun/certs.d`, but with a cgroup parent of
    /// the sandbox' own, as cgroups have no namespace here. `config` is more TOML to put before.
    pub fn rrund(sandbox: &Sandbox, config: &str) -> Result<Self> {
        let mut daemon = Self::rrund_with(sandbox, config, &[])?;
        daemon.await_socket()?;
        Ok(daemon)
    }

    /// An `rrund` of another build, with its defaults.
    pub fn rrund_in(folder: &Path, sandbox: &Sandbox) -> Result<Self> {
        let mut daemon = Self::launch(place::program_in(folder, "rrund")?, sandbox, "", &[])?;
        daemon.await_socket()?;
        Ok(daemon)
    }

    /// The same, with more in its environment, and not waited for: see [`Daemon::answers`].
    pub fn rrund_with(s: &Sandbox, config: &str, environment: &[(&str, &str)]) -> Result<Self> {
        Self::launch(place::program("rrund")?, s, config, environment)
    }

    fn launch(
        program: PathBuf,
        s: &Sandbox,
        config: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = s.inside("/etc/rrun");
        fs::create_dir_all(&folder)?;
        let table = if config.contains("[cgroup]") { "" } else { "[cgroup]" };
        let text = format!("{config}\n{table}\nparent = \"{}\"\n", s.cgroup_parent());
        fs::write(folder.join("rrund.toml"), text)?;
        let mut command = s.command(program);
        command.envs(environment.iter().copied());
        let socket = s.run().join("rrun/rrun.sock");
        Self::spawn(command, socket, s.root().join("rrund.log"))
    }

    /// containerd and runc of `make tools`, with the bridge plugin and images from `certs`.
    pub fn containerd(sandbox: &Sandbox, certs: &Path) -> Result<Self> {
        let bin = place::tool("containerd")?;
        let bin = bin.parent().context("no folder")?;
        let confs = sandbox.inside("/etc/cni/net.d");
        fs::create_dir_all(&confs)?;
        fs::write(confs.join("10-peer.conflist"), CONFLIST)?;
        let text = CONTAINERD
            .replace("@root@", &sandbox.root().display().to_string())
            .replace("@certs@", &certs.display().to_string())
            .replace("@bin@", &bin.display().to_string());
        let config = sandbox.root().join("containerd.toml");
        fs::write(&config, text)?;
        let mut command = sandbox.command(bin.join("containerd"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg("--config").arg(config).env("PATH", format!("{}:{path}", bin.display()));
        let socket = sandbox.run().join("containerd/containerd.sock");
        let mut daemon = Self::start(command, socket, sandbox.root().join("containerd.log"))?;
        daemon.debris = Some("k8s.io");
        Ok(daemon)
    }

    fn start(command: Command, socket: PathBuf, log: PathBuf) -> Result<Self> {
        let mut daemon = Self::spawn(command, socket, log)?;
        daemon.await_socket()?;
        Ok(daemon)
    }

    fn spawn(mut command: Command, socket: PathBuf, log: PathBuf) -> Result<Self> {
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self { child, socket, log, debris: None })
    }

    fn await_socket(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_up(deadline)? {
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until it serves, without holding up other tasks.
    pub async fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_up(deadline)? {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn is_up(&mut self, deadline: Instant) -> Result<bool> {
        if UnixStream::connect(&self.socket).is_ok() {
            return Ok(true);
        }
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon ended: {status}\n{}", self.log());
        }
        if Instant::now() > deadline {
            bail!("{}: no daemon answers\n{}", self.socket.display(), self.log());
        }
        Ok(false)
    }

    /// The CRI socket, as seen from outside the sandbox and from inside.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `unix://…`, as clients want it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is gone.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, and waits for the end: what a drop does, by its name.
    pub fn kill(self) {}
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            if let Some(name) = self.debris {
                // Fails, and shall, while a pod of another daemon lives in it.
                let _ = fs::remove_dir(hierarchy.path().join(name));
            }
        }
    }
}

/// `restrict_oom_score_adj`: a root without CAP_SYS_RESOURCE may not lower it.
const CONTAINERD: &str = r#"version = 3
root = "@root@/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.cri.v1.images".registry]
config_path = "@certs@"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["@bin@/cni"]
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "@bin@/runc"
"#;

const CONFLIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "peer",
  "plugins": [
    {
      "type": "bridge", "bridge": "peer0", "isGateway": true,
      "ipMasq": true, "ipMasqBackend": "nftables",
      "ipam": {
        "type": "host-local", "ranges": [[{ "subnet": "10.88.0.0/16" }]],
        "routes": [{ "dst": "0.0.0.0/0" }]
      }
    },
    { "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true } }
  ]
}
"#;
