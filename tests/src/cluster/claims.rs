//! What is claimed of a cluster's node, as `kubectl` shows it.

use super::{ControlPlane, NODE, TIMEOUT, until};
use crate::kubelet::Kubelet;
use crate::{limit, place};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// A cluster of one node.
pub struct Node {
    /// Its servers.
    pub plane: ControlPlane,
    /// Its kubelet, while one runs.
    pub kubelet: Option<Kubelet>,
    /// A folder of the host that pods have.
    pub shared: PathBuf,
    /// The group above those of pods.
    pub cgroup: String,
}

/// A claim, and what looks whether it holds.
pub type Claim = (&'static str, fn(&Node) -> Result<()>);

/// Of pods.
pub const PODS: [Claim; 12] = [
    ("the node is Ready and tells what its runtime can do", Node::ready),
    ("a pod reads its service account's token", Node::account),
    ("exec, cp, attach and logs go through the API server", Node::streams),
    ("a port is forwarded to a pod", Node::forward),
    ("the log of the previous run is told", Node::previous),
    ("a container is resized where it runs", Node::resize),
    ("a limit below what is used is told and not set", Node::shrink),
    ("root of a pod with users of its own is nobody on the host", Node::users),
    ("an image is a volume, whole and by a path in it", Node::image),
    ("an ephemeral container sees its target's processes", Node::debug),
    ("a pod over its ephemeral storage is evicted", Node::evict),
    ("a pod that is deleted has its grace and is gone", Node::delete),
];

/// Of what controllers make.
pub const KINDS: [Claim; 5] = [
    ("a Deployment is rolled out, back, and to another size", Node::deployment),
    ("a StatefulSet keeps names and claims", Node::stateful),
    ("a DaemonSet installs a file on its node and serves on its address", Node::daemon),
    ("a Job completes, and one that fails tells so", Node::jobs),
    ("a CronJob runs by its schedule", Node::cron),
];

impl Node {
    /// Gives all manifests of `tests/cluster/manifests` to the API server.
    pub fn apply_all(&self) -> Result<()> {
        let manifests = place::workspace().join("tests/cluster/manifests");
        for entry in fs::read_dir(&manifests).with_context(|| manifests.display().to_string())? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let text = text.replace("@shared@", &self.shared.display().to_string());
            let name = path.file_name().context("no name")?;
            let filled = self.shared.join(name);
            fs::write(&filled, text)?;
            self.kubectl(&["apply", "-f", &filled.display().to_string()])?;
        }
        Ok(())
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.kubectl(arguments)
    }

    fn get(&self, what: &[&str]) -> Result<Value> {
        self.plane.get(what)
    }

    fn wait(&self, condition: &str, what: &str) -> Result<()> {
        self.kubectl(&["wait", &format!("--for={condition}"), what, TIMEOUT])?;
        Ok(())
    }

    fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let words = ["exec", pod, "-c", "main", "--"];
        self.kubectl(&words.iter().chain(command).copied().collect::<Vec<_>>())
    }

    fn ready(&self) -> Result<()> {
        self.wait("condition=Ready", &format!("node/{NODE}"))?;
        let node = self.get(&["node", NODE])?;
        let version = node["status"]["nodeInfo"]["containerRuntimeVersion"].as_str();
        ensure!(version.is_some_and(|v| v.starts_with("rrun://")), "{version:?}");
        let handlers = node["status"]["runtimeHandlers"].as_array().context("no handlers")?;
        let users = |handler: &Value| handler["features"]["userNamespaces"] == true;
        ensure!(handlers.iter().any(users), "{handlers:?}");
        Ok(())
    }

    fn account(&self) -> Result<()> {
        self.wait("jsonpath={.status.phase}=Succeeded", "pod/account")?;
        let log = self.kubectl(&["logs", "account"])?;
        let lines: Vec<&str> = log.lines().collect();
        let [namespace, size, certificates] = lines[..] else { bail!("{log:?}") };
        ensure!(namespace == "default" && size.trim().parse::<u32>()? > 500, "{log:?}");
        ensure!(certificates.parse::<u32>()? > 0, "{log:?}");
        Ok(())
    }

    fn streams(&self) -> Result<()> {
        self.wait("condition=Ready", "pod/imaged")?;
        let said = self.exec("imaged", &["sh", "-c", "echo out; echo err >&2"])?;
        ensure!(said == "out\n", "{said:?}");
        let failed =
            self.exec("imaged", &["sh", "-c", "exit 9"]).unwrap_or_else(|error| error.to_string());
        ensure!(failed.contains("exit code 9"), "{failed}");
        let file = self.shared.join("copied");
        let text = "copied there and back\n".repeat(10_000);
        fs::write(&file, &text)?;
        let there = file.display().to_string();
        self.kubectl(&["cp", "-c", "main", &there, "imaged:/tmp/copied"])?;
        let back = self.shared.join("back").display().to_string();
        self.kubectl(&["cp", "-c", "main", "imaged:/tmp/copied", &back])?;
        ensure!(fs::read_to_string(&back)? == text, "what came back is something else");
        // Both transports: kubectl takes SPDY where it is told so.
        let mut spdy = self.plane.kubectl_command(&["exec", "imaged", "--", "echo", "spdy"])?;
        let output = limit::output(spdy.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"))?;
        ensure!(output.stdout == b"spdy\n", "{output:?}");
        Ok(())
    }

    fn forward(&self) -> Result<()> {
        self.wait("condition=Ready", "pod/target")?;
        let words = ["port-forward", "pod/target", "18090:8080"];
        let mut forward = self.plane.kubectl_command(&words)?.stdout(Stdio::null()).spawn()?;
        let held = until("the page", || {
            let page = self.kubelet()?.fetch("http://127.0.0.1:18090/")?;
            ensure!(page.trim_end() == "target", "{page:?}");
            Ok(())
        });
        forward.kill()?;
        forward.wait()?;
        held
    }

    fn previous(&self) -> Result<()> {
        self.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/again")?;
        self.wait("condition=Ready", "pod/again")?;
        let logs = (self.kubectl(&["logs", "again", "-p"])?, self.kubectl(&["logs", "again"])?);
        ensure!(logs == ("run 0\n".into(), "run 1\n".into()), "{logs:?}");
        let pod = self.get(&["pod", "again"])?;
        let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
        ensure!(last["exitCode"] == 4 && last["reason"] == "Error", "{last}");
        Ok(())
    }

    fn resize(&self) -> Result<()> {
        self.wait("condition=Ready", "pod/resized")?;
        let before = self.get(&["pod", "resized"])?;
        self.patch_resources(r#"{ "cpu": "200m", "memory": "96Mi" }"#)?;
        until("the limits", || {
            let pod = self.get(&["pod", "resized"])?;
            let status = &pod["status"]["containerStatuses"][0];
            let limits = &status["resources"]["limits"];
            ensure!(limits["cpu"] == "200m" && limits["memory"] == "96Mi", "{status}");
            ensure!(status["restartCount"] == 0, "{status}");
            let id = &before["status"]["containerStatuses"][0]["containerID"];
            ensure!(&status["containerID"] == id, "another container: {status}");
            Ok(())
        })?;
        let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let group = self.group_of("resized", "memory")?;
        let limit = fs::read_to_string(group.join("memory.limit_in_bytes"))
            .with_context(|| format!("{file} of {}", group.display()))?;
        ensure!(limit.trim() == (96 << 20).to_string(), "{limit}");
        let quota = fs::read_to_string(self.group_of("resized", "cpu")?.join("cpu.cfs_quota_us"))?;
        ensure!(quota.trim() == "20000", "{quota}");
        Ok(())
    }

    fn shrink(&self) -> Result<()> {
        self.patch_resources(r#"{ "cpu": "200m", "memory": "8Ki" }"#)?;
        until("the refusal", || {
            let pod = self.get(&["pod", "resized"])?;
            let conditions = pod["status"]["conditions"].as_array().context("no conditions")?;
            let told = conditions.iter().find(|c| c["type"] == "PodResizeInProgress");
            let told = told.context("no condition PodResizeInProgress")?;
            ensure!(told["reason"] == "Error", "{told}");
            ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "it ran again");
            Ok(())
        })?;
        self.patch_resources(r#"{ "cpu": "200m", "memory": "96Mi" }"#)
    }

    fn patch_resources(&self, limits: &str) -> Result<()> {
        let patch = format!(
            r#"{{ "spec": {{ "containers": [{{ "name": "main", "resources":
                {{ "requests": {{ "cpu": "50m", "memory": "8Ki" }}, "limits": {limits} }} }}] }} }}"#
        );
        self.kubectl(&["patch", "pod", "resized", "--subresource", "resize", "-p", &patch])?;
        Ok(())
    }

    /// The group of a pod's first container in this hierarchy of v1.
    fn group_of(&self, pod: &str, controller: &str) -> Result<PathBuf> {
        let pod = self.get(&["pod", pod])?;
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        let id = id.strip_prefix("rrun://").context("no id")?;
        let top = PathBuf::from("/sys/fs/cgroup").join(controller).join(&self.cgroup[1..]);
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            if folder.to_string_lossy().ends_with(id) {
                return Ok(folder);
            }
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                folders.extend(path.is_dir().then_some(path));
            }
        }
        bail!("{}: no group of {id}", top.display())
    }

    fn users(&self) -> Result<()> {
        self.wait("condition=Ready", "pod/userns")?;
        let map = self.exec("userns", &["cat", "/proc/self/uid_map"])?;
        let words: Vec<u32> = map.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [0, host, 65536] = words[..] else { bail!("{map:?}") };
        ensure!(host >= 65536, "root is {host} on the host");
        let owner =
            self.exec("userns", &["sh", "-c", "touch /scratch/f && stat -c %u /scratch/f"])?;
        ensure!(owner == "0\n", "{owner:?}");
        Ok(())
    }

    fn image(&self) -> Result<()> {
        let both =
            "/tools/bin/true && /programs/true && ! touch /tools/new 2>/dev/null && echo held";
        let said = self.exec("imaged", &["sh", "-c", both])?;
        ensure!(said == "held\n", "{said:?}");
        Ok(())
    }

    fn debug(&self) -> Result<()> {
        let image = format!("--image={}", crate::harness::BUSYBOX);
        let script = "ps | grep -c '[w]ork serve'; exit 0";
        self.kubectl(&[
            "debug",
            "target",
            &image,
            "--target=main",
            "-c",
            "look",
            "--profile=general",
            "--",
            "sh",
            "-c",
            script,
        ])?;
        until("its log", || {
            let log = self.kubectl(&["logs", "target", "-c", "look"])?;
            ensure!(log == "1\n", "{log:?}");
            Ok(())
        })
    }

    fn evict(&self) -> Result<()> {
        self.wait("jsonpath={.status.reason}=Evicted", "pod/grows")?;
        let pod = self.get(&["pod", "grows"])?;
        let status = &pod["status"];
        ensure!(status["phase"] == "Failed", "{status}");
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(message.contains("ephemeral local storage"), "{message}");
        Ok(())
    }

    fn delete(&self) -> Result<()> {
        let group = self.group_of("target", "memory")?;
        self.kubectl(&["delete", "pod", "target", TIMEOUT])?;
        ensure!(!group.exists(), "{} is still there", group.display());
        Ok(())
    }

    fn deployment(&self) -> Result<()> {
        let rolled = || self.kubectl(&["rollout", "status", "deployment/web", TIMEOUT]);
        rolled()?;
        self.kubectl(&[
            "patch", "deployment", "web", "--type=json", "-p",
            r#"[{"op":"replace","path":"/spec/template/spec/containers/0/command/3","value":"two"}]"#,
        ])?;
        rolled()?;
        self.pages("web", "two", 3)?;
        self.kubectl(&["rollout", "undo", "deployment/web"])?;
        rolled()?;
        self.pages("web", "one", 3)?;
        self.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
        rolled()?;
        self.pages("web", "one", 5)?;
        self.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
        self.pages("web", "one", 3)
    }

    /// That the pods of an app are so many and serve this page.
    fn pages(&self, app: &str, page: &str, count: usize) -> Result<()> {
        until("the pages", || {
            let pods = self.get(&["pods", "-l", &format!("app={app}")])?;
            let pods = pods["items"].as_array().context("no list")?;
            ensure!(pods.len() == count, "{} pods, not {count}", pods.len());
            for pod in pods {
                let address = pod["status"]["podIP"].as_str().context("no address")?;
                let got = self.kubelet()?.fetch(&format!("http://{address}:8080/"))?;
                ensure!(got.trim_end() == page, "{address}: {got:?}");
            }
            Ok(())
        })
    }

    fn stateful(&self) -> Result<()> {
        let rolled = || self.kubectl(&["rollout", "status", "statefulset/store", TIMEOUT]);
        rolled()?;
        self.kubectl(&["delete", "pod", "store-1", TIMEOUT])?;
        rolled()?;
        self.wait("condition=Ready", "pod/store-1")?;
        let starts = |n: u8| fs::read_to_string(self.shared.join(format!("{n}/starts")));
        until("the starts", || {
            let both = (starts(0)?, starts(1)?);
            ensure!(both == ("store-0\n".into(), "store-1\nstore-1\n".into()), "{both:?}");
            Ok(())
        })
    }

    fn daemon(&self) -> Result<()> {
        self.kubectl(&["rollout", "status", "daemonset/agent", TIMEOUT])?;
        ensure!(self.shared.join("agent").exists(), "the file is not installed");
        let page = self.kubelet()?.fetch("http://127.0.0.1:18081/")?;
        ensure!(page.trim_end() == "agent", "{page:?}");
        Ok(())
    }

    fn jobs(&self) -> Result<()> {
        self.wait("condition=Complete", "job/three")?;
        self.wait("condition=Failed", "job/fails")?;
        let job = self.get(&["job", "fails"])?;
        ensure!(job["status"]["failed"] == 2, "{}", job["status"]);
        let pods = self.get(&["pods", "-l", "job-name=fails"])?;
        let end = &pods["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"];
        ensure!(end["exitCode"] == 7, "{end}");
        Ok(())
    }

    fn cron(&self) -> Result<()> {
        until("a run", || {
            let cron = self.get(&["cronjob", "tick"])?;
            let last = &cron["status"]["lastSuccessfulTime"];
            ensure!(last.is_string(), "{}", cron["status"]);
            Ok(())
        })
    }

    /// Containers that go on, with their ids and restarts.
    pub fn running(&self) -> Result<BTreeMap<String, String>> {
        let pods = self.get(&["pods"])?;
        let mut found = BTreeMap::new();
        for pod in pods["items"].as_array().context("no list")? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                if status["state"]["running"].is_object() {
                    let key = format!("{name}/{}", status["name"]);
                    found.insert(
                        key,
                        format!("{} r{}", status["containerID"], status["restartCount"]),
                    );
                }
            }
        }
        Ok(found)
    }

    /// That these go on under another kubelet: it must come to the same, and the node be Ready.
    pub fn goes_on(&self, was: &BTreeMap<String, String>) -> Result<()> {
        // Some heartbeats of the node, within which a kubelet that saw other containers would act.
        std::thread::sleep(Duration::from_secs(10));
        self.wait("condition=Ready", &format!("node/{NODE}"))?;
        let now = self.running()?;
        let lost: Vec<_> = was.iter().filter(|(key, id)| now.get(*key) != Some(id)).collect();
        ensure!(lost.is_empty(), "{lost:#?}");
        Ok(())
    }

    /// Drains the node past the budget of disruptions, and takes it back.
    pub fn drain(&self) -> Result<()> {
        // The budget wants two of three, which on one node no drain can keep.
        let words = ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--force"];
        let refused = self.kubectl(&[&words[..], &["--timeout=10s"]].concat());
        let refused = refused.err().context("a drain broke the budget")?.to_string();
        ensure!(refused.contains("disruption budget"), "{refused}");
        self.kubectl(&["delete", "poddisruptionbudget", "web"])?;
        self.kubectl(&[&words[..], &[TIMEOUT]].concat())?;
        let field = format!("--field-selector=spec.nodeName={NODE},status.phase=Running");
        let pods = self.get(&["pods", &field])?;
        let names = pods["items"].as_array().context("no list")?.iter();
        let names: Vec<_> = names.map(|pod| pod["metadata"]["name"].to_string()).collect();
        ensure!(matches!(&names[..], [agent] if agent.starts_with("\"agent-")), "{names:?}");
        self.kubectl(&["uncordon", NODE])?;
        self.kubectl(&["rollout", "status", "deployment/web", TIMEOUT])?;
        self.kubectl(&["rollout", "status", "statefulset/store", TIMEOUT])?;
        Ok(())
    }

    /// Deletes what was applied, and waits until no pod is left.
    pub fn delete_all(&self) -> Result<()> {
        let kinds = "deployments,statefulsets,daemonsets,cronjobs,jobs,pods";
        self.kubectl(&["delete", kinds, "--all", TIMEOUT])?;
        until("the last pod's end", || {
            let pods = self.get(&["pods"])?;
            ensure!(pods["items"].as_array().is_some_and(Vec::is_empty), "{pods}");
            Ok(())
        })
    }

    fn kubelet(&self) -> Result<&Kubelet> {
        self.kubelet.as_ref().context("no kubelet runs")
    }
}
