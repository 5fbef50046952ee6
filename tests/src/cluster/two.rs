//! Two nodes, each with a daemon and a kubelet in a network of its own and a wire between them. The
//! cluster gives each the addresses of its pods.

use super::{ControlPlane, Site, TIMEOUT, until};
use crate::harness::Harness;
use crate::kubelet::Kubelet;
use crate::{limit, place};
use anyhow::{Context, Result, bail, ensure};
use rrun_cri_api::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// The nodes' names, which are their addresses on the wire.
const NAMES: [&str; 2] = ["172.31.99.1", "172.31.99.2"];

const SITE: Site = Site { address: NAMES[0], nodes: &NAMES, pods: Some("10.200.0.0/16") };

/// What each node's network is made from.
const TEMPLATE: &str = r#"{
  "cniVersion": "1.0.0", "name": "cluster", "plugins": [
    { "type": "ptp", "ipam": { "type": "host-local", "dataDir": "@root@/addresses",
        "ranges": [[{ "subnet": "{{.PodCIDR}}" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}"#;

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 4
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - { maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
          labelSelector: { matchLabels: { app: web } } }
      tolerations:
      - { key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }
      containers:
      - name: main
        image: images.rrun.test/work:latest
        command: [/bin/work, serve, "8080", $(POD)]
        env: [{ name: POD, valueFrom: { fieldRef: { fieldPath: metadata.name } } }]
        readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 }
      - name: client
        image: registry.k8s.io/e2e-test-images/busybox:1.29-2
        command: [sh, -c, 'echo here; exec sleep 100000']
"#;

/// A cluster of two nodes.
pub struct Nodes {
    // In the order of their end: sysctls are put back by the kubelet that found them.
    kubelets: Vec<Option<Kubelet>>,
    plane: ControlPlane,
    nodes: [Harness; 2],
}

/// A claim, and what looks whether it holds.
pub type Claim = (&'static str, fn(&Nodes) -> Result<()>);

/// Of two nodes.
pub const BOTH: [Claim; 5] = [
    ("both nodes are Ready, each with addresses of its own for its pods", Nodes::ready),
    ("a Deployment is on both nodes, with the addresses of each", Nodes::spread),
    ("pods talk to those of the other node as to their own", Nodes::across),
    ("exec, logs and a forwarded port reach the pods of either node", Nodes::streams),
    ("what a drained node had is made on the other", Nodes::drain),
];

impl Nodes {
    /// Starts all of it, with a Deployment.
    pub async fn start() -> Result<Self> {
        let mut nodes = [node().await?, node().await?];
        wire(&nodes)?;
        let plane = ControlPlane::start(nodes[0].sandbox(), SITE)?;
        let mut kubelets = Vec::new();
        for (node, name) in nodes.iter_mut().zip(NAMES) {
            kubelets.insert(0, Some(Kubelet::join(node.sandbox(), name, &plane.kubeconfig(name))?));
        }
        Ok(Self { kubelets, plane, nodes })
    }

    /// What the programs last said.
    pub fn log_ends(&self) -> String {
        let kubelets = self.kubelets.iter().flatten().map(Kubelet::log_end);
        let daemons = self.nodes.iter().filter_map(Harness::daemon).map(|daemon| daemon.log());
        let all: Vec<String> = [self.plane.log_ends()].into_iter().chain(kubelets).collect();
        all.into_iter().chain(daemons).collect::<Vec<_>>().join("\n")
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.kubectl(arguments)
    }

    /// The addresses that the cluster gave to the pods of each node.
    fn cidrs(&self) -> Result<[String; 2]> {
        let of = |name| -> Result<String> {
            let node = self.plane.get(&["node", name])?;
            let cidr = node["spec"]["podCIDR"].as_str();
            Ok(cidr.with_context(|| format!("{name}: no podCIDR"))?.to_owned())
        };
        Ok([of(NAMES[0])?, of(NAMES[1])?])
    }

    fn ready(&self) -> Result<()> {
        for name in NAMES {
            self.kubectl(&["wait", "--for=condition=Ready", &format!("node/{name}"), TIMEOUT])?;
        }
        let cidrs = self.cidrs()?;
        ensure!(cidrs[0] != cidrs[1], "{cidrs:?}");
        // As the route controller of a cloud does.
        for (at, node) in self.nodes.iter().enumerate() {
            let other = 1 - at;
            ip(node, &["route", "replace", &cidrs[other], "via", NAMES[other]])?;
        }
        let file = self.nodes[0].sandbox().root().join("deployment.yaml");
        fs::write(&file, DEPLOYMENT)?;
        self.kubectl(&["apply", "-f", &file.display().to_string()])?;
        Ok(())
    }

    /// Ready pods by name: node and address.
    fn pods(&self) -> Result<BTreeMap<String, (String, Ipv4Addr)>> {
        self.kubectl(&["rollout", "status", "deployment/web", TIMEOUT])?;
        let list = self.plane.get(&["pods", "-l", "app=web"])?;
        let mut pods = BTreeMap::new();
        for pod in list["items"].as_array().context("no list")? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if pod["metadata"]["deletionTimestamp"].is_null() {
                let address = text(&pod["status"]["podIP"]);
                let address = address.parse().with_context(|| pod["status"].to_string())?;
                pods.insert(
                    text(&pod["metadata"]["name"]),
                    (text(&pod["spec"]["nodeName"]), address),
                );
            }
        }
        Ok(pods)
    }

    fn spread(&self) -> Result<()> {
        let (cidrs, pods) = (self.cidrs()?, self.pods()?);
        for (name, cidr) in NAMES.into_iter().zip(&cidrs) {
            let base = cidr.strip_suffix(".0/24").with_context(|| cidr.clone())?;
            let own = pods.values().filter(|(node, _)| node == name);
            let inside = |(_, address): &&(String, Ipv4Addr)| {
                address.to_string().strip_prefix(base).is_some_and(|rest| rest.starts_with('.'))
            };
            ensure!(own.clone().count() == 2 && own.clone().all(|pod| inside(&pod)), "{pods:?}");
        }
        Ok(())
    }

    fn across(&self) -> Result<()> {
        let pods = self.pods()?;
        for from in pods.keys() {
            for (to, (_, address)) in &pods {
                let url = format!("http://{address}:8080/");
                let get = ["exec", from, "-c", "client", "--", "wget", "-qO-", &url];
                let page = self.kubectl(&get)?;
                ensure!(page.trim_end() == to, "{from} of {to}: {page:?}");
            }
        }
        Ok(())
    }

    fn streams(&self) -> Result<()> {
        let pods = self.pods()?;
        for name in NAMES {
            let mut own = pods.iter().filter(|(_, (node, _))| node == name);
            let (pod, _) = own.next().context("no pod")?;
            let log = self.kubectl(&["logs", pod, "-c", "client"])?;
            ensure!(log == "here\n", "{log:?}");
            let ports = ["port-forward", pod, "18092:8080"];
            let mut forward = self.plane.kubectl_command(&ports)?.stdout(Stdio::null()).spawn()?;
            let held = until("the page", || {
                let kubelet = self.kubelets.iter().flatten().next_back().context("no kubelet")?;
                let page = kubelet.fetch("http://127.0.0.1:18092/")?;
                ensure!(page.trim_end() == pod, "{page:?}");
                Ok(())
            });
            forward.kill()?;
            forward.wait()?;
            held?;
        }
        Ok(())
    }

    fn drain(&self) -> Result<()> {
        let name = NAMES[1];
        self.kubectl(&["drain", name, "--ignore-daemonsets", TIMEOUT])?;
        let pods = self.pods()?;
        ensure!(pods.len() == 4 && pods.values().all(|(node, _)| node == NAMES[0]), "{pods:?}");
        self.kubectl(&["uncordon", name])?;
        self.kubectl(&["rollout", "restart", "deployment/web"])?;
        until("pods on both", || {
            let pods = self.pods()?;
            let has = |name: &&str| pods.values().any(|(node, _)| node == name);
            ensure!(NAMES.iter().all(has), "{pods:?}");
            Ok(())
        })
    }

    /// A daemon that is killed and started again costs its node's pods nothing.
    pub async fn restart(&mut self) -> Result<()> {
        let before = self.pods()?;
        self.nodes[1].restart()?;
        let endpoint = self.nodes[1].daemon().context("no daemon")?.endpoint();
        self.nodes[1].client = Client::connect(&endpoint).await?;
        self.kubectl(&["wait", "--for=condition=Ready", &format!("node/{}", NAMES[1]), TIMEOUT])?;
        let after = self.pods()?;
        ensure!(before == after, "{before:?}, then {after:?}");
        self.across()
    }

    /// A node that is not heard of any more loses its pods to the other, and has none of them when it
    /// is back.
    pub async fn lose(&mut self) -> Result<()> {
        let lost = self.pods()?;
        let kubelet = self.kubelets.first_mut().context("no kubelet")?;
        *kubelet = None;
        until("the pods on the other node", || {
            let pods = self.pods()?;
            ensure!(pods.values().all(|(node, _)| node == NAMES[0]), "{pods:?}");
            Ok(())
        })?;
        let (sandbox, name) = (self.nodes[1].sandbox(), NAMES[1]);
        self.kubelets[0] = Some(Kubelet::join(sandbox, name, &self.plane.kubeconfig(name))?);
        self.kubectl(&["wait", "--for=condition=Ready", &format!("node/{name}"), TIMEOUT])?;
        until("the lost pods' end", || {
            let list = self.plane.get(&["pods", "-l", "app=web"])?;
            let names = list["items"].as_array().context("no list")?.iter();
            let names: Vec<_> = names.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
            let left = lost
                .iter()
                .filter(|(pod, (node, _))| node == name && names.contains(&pod.as_str()));
            ensure!(left.count() == 0, "{names:?}");
            Ok(())
        })
    }

    /// Deletes what was applied; nothing is left of it over CRI.
    pub async fn end(mut self) -> Result<()> {
        self.kubectl(&["delete", "deployment", "web", TIMEOUT])?;
        until("the last pod's end", || {
            let pods = self.plane.get(&["pods"])?;
            ensure!(pods["items"].as_array().is_some_and(Vec::is_empty), "{pods}");
            Ok(())
        })?;
        for node in &self.nodes {
            node.emptied().await?;
        }
        self.kubelets.clear();
        drop(self.plane);
        self.nodes.iter().try_for_each(Harness::remove_kubelet_groups)
    }
}

/// A daemon whose network waits for what the cluster says.
async fn node() -> Result<Harness> {
    let plugins = place::tool("cni/ptp")?;
    let plugins = plugins.parent().context("no folder")?.display().to_string();
    let config = format!(
        "[network]\nmode = 'cni'\nconf_dir = '/etc/rrun/net.d'\nbin_dirs = ['{plugins}']\n\
         conf_template = '/etc/rrun/net.in'\n"
    );
    let harness = Harness::start_with(&config).await?;
    harness.warm_on_host().await?;
    let sandbox = harness.sandbox();
    let template = TEMPLATE.replace("@root@", &sandbox.root().display().to_string());
    fs::write(sandbox.inside("/etc/rrun/net.in"), template)?;
    Ok(harness)
}

/// Puts a wire between the nodes.
fn wire(nodes: &[Harness; 2]) -> Result<()> {
    let [one, two] = nodes.each_ref().map(|node| node.sandbox().pid().to_string());
    let mut add = Command::new("ip");
    add.args(["link", "add", "wire", "netns", &one, "type", "veth", "peer", "name", "wire"]);
    let status = limit::status(add.args(["netns", &two]))?;
    ensure!(status.success(), "ip link add wire: {status}");
    for (node, name) in nodes.iter().zip(NAMES) {
        ip(node, &["address", "add", &format!("{name}/24"), "dev", "wire"])?;
        ip(node, &["link", "set", "wire", "up"])?;
    }
    Ok(())
}

fn ip(node: &Harness, arguments: &[&str]) -> Result<()> {
    let status = limit::status(node.sandbox().command("ip").args(arguments))?;
    if !status.success() {
        bail!("ip {}: {status}", arguments.join(" "));
    }
    Ok(())
}
