//! A control plane in a sandbox: etcd, kube-apiserver, controller manager, scheduler, and kubectl as
//! its client.
//!
//! Who calls says so by a token; the certificates are of the server's own making, and nobody
//! verifies them: all of it listens in the sandbox' network.

mod claims;
mod two;

pub use claims::{Claim, KINDS, Node, PODS};
pub use two::{BOTH, Nodes};

use crate::limit;
use crate::place;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const ETCD: &str = "http://127.0.0.1:2379";

/// What is there is waited for that long, and looked at so often; an image is pulled and a controller
/// has its own pace.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(500);
const TIMEOUT: &str = "--timeout=180s";

/// The node's name, which is its address too.
pub const NODE: &str = "127.0.0.1";

/// Token, user and group of each client that is no node, as `--token-auth-file` wants them.
const CLIENTS: [(&str, &str, &str); 3] = [
    ("admin", "admin", "system:masters"),
    ("scheduler", "system:kube-scheduler", ""),
    ("controllers", "system:kube-controller-manager", ""),
];

/// What a control plane is for.
#[derive(Clone, Copy)]
pub struct Site {
    /// Where the API server listens.
    pub address: &'static str,
    /// The nodes, by names that are their addresses.
    pub nodes: &'static [&'static str],
    /// Addresses that the nodes get a part of for their pods, each 256 of them.
    pub pods: Option<&'static str>,
}

/// One node, whose runtime has addresses for its pods.
pub const ALONE: Site = Site { address: NODE, nodes: &[NODE], pods: None };

/// The running servers; dropped, they are killed.
pub struct ControlPlane {
    servers: Vec<(&'static str, Child)>,
    prefix: Vec<String>,
    folder: PathBuf,
    site: Site,
}

impl ControlPlane {
    /// Starts the servers and waits until they answer.
    pub fn start(sandbox: &Sandbox, site: Site) -> Result<Self> {
        let folder = sandbox.root().join("control-plane");
        fs::create_dir(&folder)?;
        let mut plane = Self { servers: Vec::new(), prefix: sandbox.prefix(), folder, site };
        plane.write_files()?;
        plane.serve("etcd", &plane.etcd())?;
        plane.serve("kube-apiserver", &plane.api_server())?;
        plane.await_answer(&["get", "--raw", "/readyz"])?;
        plane.serve("kube-controller-manager", &plane.controllers())?;
        plane.serve("kube-scheduler", &plane.scheduler())?;
        // Made by a controller; without it no pod is admitted.
        plane.await_answer(&["get", "serviceaccount", "default"])?;
        Ok(plane)
    }

    fn write_files(&self) -> Result<()> {
        let clients = CLIENTS.map(|(name, user, group)| (name, user.to_owned(), group));
        let node = |name: &&'static str| (*name, format!("system:node:{name}"), "system:nodes");
        let clients: Vec<_> = clients.into_iter().chain(self.site.nodes.iter().map(node)).collect();
        let token = |(name, user, group): &(&str, String, &str)| match *group {
            "" => format!("{name},{user},{name}\n"),
            group => format!("{name},{user},{name},{group}\n"),
        };
        fs::write(self.folder.join("tokens"), clients.iter().map(token).collect::<String>())?;
        for (name, ..) in clients {
            let text = KUBECONFIG.replace("@token@", name).replace("@server@", &self.server());
            fs::write(self.kubeconfig(name), text)?;
        }
        let key = self.folder.join("accounts.key");
        let mut openssl = Command::new("openssl");
        openssl.args(["genrsa", "-out"]).arg(&key).arg("2048");
        let output = limit::output(&mut openssl)?;
        if !output.status.success() {
            bail!("openssl genrsa: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn server(&self) -> String {
        format!("https://{}:6443", self.site.address)
    }

    /// What a client of this name connects by: `admin` and the nodes among them.
    pub fn kubeconfig(&self, client: &str) -> PathBuf {
        self.folder.join(format!("{client}.kubeconfig"))
    }

    fn etcd(&self) -> Vec<String> {
        let data = self.folder.join("etcd");
        vec![
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:2380".into(),
            "--unsafe-no-fsync".into(),
        ]
    }

    fn api_server(&self) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            format!("--etcd-servers={ETCD}"),
            format!("--cert-dir={}", file("pki")),
            format!("--token-auth-file={}", file("tokens")),
            format!("--service-account-key-file={}", file("accounts.key")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            format!("--service-account-issuer={}", self.server()),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            format!("--bind-address={}", self.site.address),
            format!("--advertise-address={}", self.site.address),
            "--endpoint-reconciler-type=none".into(),
        ]
    }

    fn controllers(&self) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut arguments = vec![
            format!("--kubeconfig={}", self.kubeconfig("controllers").display()),
            format!("--service-account-private-key-file={}", file("accounts.key")),
            // Each controller has a role of its own.
            "--use-service-account-credentials=true".into(),
            format!("--root-ca-file={}", file("pki/apiserver.crt")),
            "--bind-address=127.0.0.1".into(),
            format!("--cert-dir={}", file("pki-controllers")),
            "--leader-elect=false".into(),
        ];
        if let Some(pods) = self.site.pods {
            arguments.push("--allocate-node-cidrs=true".into());
            arguments.push(format!("--cluster-cidr={pods}"));
            // Two of a node's heartbeats.
            arguments.push("--node-monitor-grace-period=20s".into());
        }
        arguments
    }

    fn scheduler(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig("scheduler").display()),
            "--bind-address=127.0.0.1".into(),
            format!("--cert-dir={}", self.folder.join("pki-scheduler").display()),
            "--leader-elect=false".into(),
        ]
    }

    fn serve(&mut self, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let mut command = self.command(&tool(name)?);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        self.servers.push((name, child));
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]).arg(program);
        command
    }

    fn await_answer(&mut self, kubectl: &[&str]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(error) = self.kubectl(kubectl) else { return Ok(()) };
            if let Some((name, status)) = self.ended()? {
                bail!("{name} ended: {status}\n{}", self.log_ends());
            }
            if Instant::now() > deadline {
                return Err(error).with_context(|| self.log_ends());
            }
            std::thread::sleep(POLL);
        }
    }

    fn ended(&mut self) -> Result<Option<(&'static str, ExitStatus)>> {
        for (name, child) in &mut self.servers {
            if let Some(status) = child.try_wait()? {
                return Ok(Some((name, status)));
            }
        }
        Ok(None)
    }

    /// The last lines that each server wrote.
    pub fn log_ends(&self) -> String {
        let end = |name: &str| {
            let path = self.folder.join(format!("{name}.log"));
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("== {name}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        self.servers.iter().map(|(name, _)| end(name)).collect()
    }

    /// `kubectl` with these arguments, ready to be started.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.command(&tool("kubectl")?);
        command.arg(format!("--kubeconfig={}", self.kubeconfig("admin").display()));
        // What it knows of the server it would keep in the home directory.
        command.arg(format!("--cache-dir={}", self.folder.join("cache").display()));
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// What `kubectl` says, as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = limit::output(&mut self.kubectl_command(arguments)?)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}: {text}{stderr}", arguments.join(" "), output.status);
        }
        Ok(text)
    }

    /// An object of the server.
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = ["get", "-o", "json"].iter().chain(what).copied().collect();
        Ok(serde_json::from_str(&self.kubectl(&arguments)?)?)
    }
}

/// Looks again and again.
fn until(what: &str, held: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match held() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).context(what.to_owned());
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

impl Drop for ControlPlane {
    /// In the reverse order of their start: none is left without whom it asks.
    fn drop(&mut self) {
        while let Some((_, mut child)) = self.servers.pop() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn tool(name: &str) -> Result<PathBuf> {
    let path = place::cache().join("bin/control-plane").join(name);
    if !path.exists() {
        bail!("{} is missing: run make cluster", path.display());
    }
    Ok(path)
}

const KUBECONFIG: &str = r#"apiVersion: v1
kind: Config
clusters: [{ name: test, cluster: { server: "@server@", insecure-skip-tls-verify: true } }]
users: [{ name: client, user: { token: "@token@" } }]
contexts: [{ name: test, context: { cluster: test, user: client } }]
current-context: test
"#;
