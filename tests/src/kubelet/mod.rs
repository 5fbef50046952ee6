//! A real kubelet in a sandbox: with static pods alone, or with the pods of a control plane.

mod alone;
mod asked;
mod brought;
mod compare;
mod history;
mod inside;
mod node;
mod odd;
mod pod;
mod pods;
mod restarts;
mod rules;
mod words;

pub use alone::{Alone, Under};
pub use compare::{Difference, Known, differences};
pub use history::{History, Told, follow};
pub use pod::Pod;
pub use pods::{all, before, chosen, write};

use crate::limit;
use crate::place;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The kubelet's own API; TLS with a certificate of its own making, everything allowed.
const API: &str = "https://127.0.0.1:10250";

/// The name and address of a node that is alone.
const LOCAL: &str = "127.0.0.1";

/// What it writes at its start, for the whole machine.
const SYSCTLS: [&str; 3] = ["kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory"];

/// A running kubelet; dropped, it is killed, and the sysctls that it has set are put back.
pub struct Kubelet {
    child: Child,
    prefix: Vec<String>,
    folder: PathBuf,
    sysctls: Vec<(PathBuf, String)>,
}

impl Kubelet {
    /// Starts it against the CRI socket of the sandbox, and waits until it answers.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_as(sandbox, LOCAL, None)
    }

    /// The same as a node of the control plane that this file names; the node has its address as its
    /// name.
    pub fn join(sandbox: &Sandbox, address: &str, kubeconfig: &Path) -> Result<Self> {
        Self::start_as(sandbox, address, Some(kubeconfig))
    }

    fn start_as(sandbox: &Sandbox, address: &str, kubeconfig: Option<&Path>) -> Result<Self> {
        let folder = sandbox.root().join("kubelet");
        fs::create_dir_all(folder.join("manifests"))?;
        let config = folder.join("config.yaml");
        let root = folder.display().to_string();
        let text = CONFIG
            .replace("@root@", &root)
            .replace("@cgroup@", &sandbox.cgroup_parent())
            .replace("@node@", &kubeconfig.is_some().to_string())
            // The control plane asks it there, and this suite on the loopback device.
            .replace("@address@", if address == LOCAL { LOCAL } else { "0.0.0.0" });
        fs::write(&config, text)?;
        let sysctls = SYSCTLS.map(|name| Path::new("/proc/sys").join(name));
        let read = |path: PathBuf| {
            let value = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            Ok((path, value))
        };
        let sysctls = sysctls.into_iter().map(read).collect::<Result<_>>()?;
        let mut command = sandbox.command(place::tool("kubelet")?);
        let output = File::options().create(true).append(true).open(folder.join("log"))?;
        // The loopback device's is refused, and told all the same where none is given.
        if address != LOCAL {
            command.arg(format!("--node-ip={address}"));
        }
        command.args(kubeconfig.map(|path| format!("--kubeconfig={}", path.display())));
        command
            .arg(format!("--config={}", config.display()))
            .arg(format!("--root-dir={root}/root"))
            .arg(format!("--cert-dir={root}/pki"))
            .arg(format!("--hostname-override={address}"))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut kubelet = Self { child, prefix: sandbox.prefix(), folder, sysctls };
        kubelet.await_answer()?;
        Ok(kubelet)
    }

    fn await_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.get("/healthz").is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the kubelet ended: {status}\n{}", self.log_end());
            }
            if Instant::now() > deadline {
                bail!("the kubelet does not answer\n{}", self.log_end());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The last lines that it wrote.
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Where it looks for static pods.
    pub fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// A body of its API.
    pub fn get(&self, path: &str) -> Result<String> {
        self.fetch(&format!("{API}{path}"))
    }

    /// A body from anywhere in the sandbox' network.
    pub fn fetch(&self, url: &str) -> Result<String> {
        self.output("curl", &["--silent", "--show-error", "--fail", "--insecure", url])
    }

    /// The pods with their status, by name.
    pub fn pods(&self) -> Result<Vec<(String, Value)>> {
        let list: Value = serde_json::from_str(&self.get("/pods")?)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let name = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            // A static pod's name ends with that of its node.
            name.strip_suffix("-127.0.0.1").unwrap_or(name).to_owned()
        };
        Ok(items.into_iter().map(|pod| (name(&pod), pod)).collect())
    }

    /// Runs the reference client of the streaming protocols against a path of its API.
    pub fn stream(&self, verb: &[&str], path: &str) -> Result<String> {
        let client = place::tool("streaming-client")?;
        let url = format!("{API}{path}");
        let words: Vec<&str> = verb.iter().copied().chain([url.as_str()]).collect();
        self.output(&client.display().to_string(), &words)
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]).arg(program).args(arguments);
        let output = limit::output(command.stdin(Stdio::null()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{program} {}: {}: {text}{stderr}", arguments.join(" "), output.status);
        }
        Ok(text)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for (path, value) in &self.sysctls {
            if let Err(error) = fs::write(path, value) {
                eprintln!("{}: {error}", path.display());
            }
        }
    }
}

const CONFIG: &str = r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: @root@/manifests
podLogsDir: @root@/pods
volumePluginDir: @root@/plugins
resolvConf: /etc/resolv.conf
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/rrun/rrun.sock
cgroupRoot: @cgroup@
cgroupDriver: cgroupfs
maxPods: 250
failCgroupV1: false
failSwapOn: false
fileCheckFrequency: 1s
syncFrequency: 1s
registerNode: @node@
enableControllerAttachDetach: false
makeIPTablesUtilChains: false
protectKernelDefaults: false
imagePullCredentialsVerificationPolicy: NeverVerify
address: @address@
readOnlyPort: 0
healthzPort: 0
authentication: { anonymous: { enabled: true }, webhook: { enabled: false } }
authorization: { mode: AlwaysAllow }
evictionHard: { memory.available: 1Mi }
shutdownGracePeriod: 0s
"#;
