//! The same pods through `rrun`, with no kubelet: the command alone, or the command over a CRI server.

use super::history::{History, Told, follow};
use super::pod::Pod;
use super::pods;
use crate::harness::{BUSYBOX, Harness, WORK};
use crate::leaks::{Snapshot, View};
use crate::limit;
use crate::place;
use anyhow::{Context, Result, ensure};
use rrun_pod::status::to_json;
use rrun_pod::supervise::{Entry, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Which runtime is under `rrun`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Under {
    /// The one in its own process; no daemon runs.
    Itself,
    /// An `rrund` that knows nothing of `rrun`: `--endpoint`.
    Endpoint,
    /// containerd and runc: `--endpoint` on a server of others.
    Containerd,
}

impl Display for Under {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Itself => "rrun",
            Self::Endpoint => "rrun --endpoint",
            Self::Containerd => "rrun --endpoint on containerd",
        })
    }
}

/// A sandbox in which each pod has an `rrun` of its own.
pub struct Alone {
    harness: Harness,
    under: Under,
    store: Store,
    /// The commands in front of those that go on in the background.
    starting: BTreeMap<&'static str, Child>,
    refused: BTreeSet<&'static str>,
    before: Snapshot,
}

/// What a machine gets once is there after a first pod.
const FIRST: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: { name: first }\nspec: { restartPolicy: Never,
  containers: [{ name: main, image: WORK, args: [\"true\"] }] }\n";

impl Alone {
    /// Pulls the images, ends the daemon that did unless it is asked for, and runs all pods in the
    /// background.
    pub async fn start(under: Under) -> Result<Self> {
        let mut harness = match under {
            Under::Itself | Under::Endpoint => Harness::start().await?,
            Under::Containerd => peer().await?,
        };
        harness.pull(WORK).await?;
        harness.pull(BUSYBOX).await?;
        if under == Under::Itself {
            harness.kill();
        }
        let sandbox = harness.sandbox();
        let first = sandbox.root().join("first.yaml");
        fs::write(&first, FIRST.replace("WORK", WORK))?;
        let mut run = command(&harness, under)?;
        let status = limit::status(run.arg("run").arg(&first))?;
        ensure!(status.success(), "rrun run {}: {status}", first.display());
        let store = Store::new(sandbox.state().join("rrun"), sandbox.run().join("rrun/rrun"));
        let before = Snapshot::take(&view(&harness))?;
        let (starting, refused) = Default::default();
        let mut alone = Self { harness, under, store, starting, refused, before };
        let (manifests, shared) = (alone.path("manifests"), alone.path("shared"));
        fs::create_dir(&manifests)?;
        fs::create_dir(&shared)?;
        for (number, pod) in pods::all().enumerate() {
            pods::before(number).await;
            pods::write(&pod, &manifests, &shared, &alone.path("seen"))?;
            let path = manifests.join(format!("{}.yaml", pod.name)).display().to_string();
            let child = alone.rrun(pod.name, &["run", "--detach", &path])?;
            alone.starting.insert(pod.name, child);
        }
        Ok(alone)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.harness.sandbox().root().join(name)
    }

    /// Starts `rrun`; what it says is in the file `<pod>.rrun`.
    fn rrun(&self, pod: &str, arguments: &[&str]) -> Result<Child> {
        let output = File::create(self.path(&format!("{pod}.rrun")))?;
        let mut command = command(&self.harness, self.under)?;
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.spawn().with_context(|| format!("{command:?}"))
    }

    fn said(&self, pod: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path(&format!("{pod}.rrun")))?.trim().to_owned())
    }

    /// Follows all pods to their last states.
    pub async fn follow(&mut self) -> Result<BTreeMap<String, History>> {
        let seen = self.path("seen");
        follow(async || self.told().await, &seen).await
    }

    /// The pods on record, with their status as the API has it, and those that are refused.
    async fn told(&mut self) -> Result<Vec<(String, Told)>> {
        let mut ended = Vec::new();
        for (name, child) in &mut self.starting {
            ended.extend(child.try_wait()?.map(|status| (*name, status)));
        }
        for (name, status) in ended {
            self.starting.remove(name);
            if !status.success() {
                self.refused.insert(name);
            }
        }
        let (entries, broken) = self.store.all().await?;
        if let Some(error) = broken.into_iter().next() {
            return Err(error.into());
        }
        let mut told = Vec::new();
        for entry in &entries {
            told.extend(pod(entry)?.map(|pod| (entry.name.clone(), Told::Pod(pod))));
        }
        for name in &self.refused {
            told.push(((*name).to_owned(), Told::Refused(self.said(name)?)));
        }
        Ok(told)
    }

    /// Removes all pods, of which nothing must be left.
    pub fn remove(&self) -> Result<()> {
        let there = |pod: &Pod| !self.refused.contains(pod.name);
        let all: Vec<_> = pods::all().filter(there).collect();
        let children: Vec<Child> = all
            .iter()
            .map(|pod| self.rrun(pod.name, &["rm", "--force", pod.name]))
            .collect::<Result<_>>()?;
        for (pod, mut child) in all.iter().zip(children) {
            let status = limit::end(&mut child, &format!("rrun rm {}", pod.name))?;
            ensure!(status.success(), "rrun rm {}: {status}: {}", pod.name, self.said(pod.name)?);
        }
        self.before.assert_nothing_left(&view(&self.harness))
    }
}

fn command(harness: &Harness, under: Under) -> Result<Command> {
    let mut command = harness.sandbox().command(place::program("rrun")?);
    let socket = match under {
        Under::Itself => return Ok(command),
        Under::Endpoint => "rrun/rrun.sock",
        Under::Containerd => "containerd/containerd.sock",
    };
    command.arg(format!("--endpoint=unix:///run/{socket}"));
    Ok(command)
}

/// containerd, and what `rrun` reads of its own configuration all the same.
async fn peer() -> Result<Harness> {
    let harness = Harness::peer().await?;
    let sandbox = harness.sandbox();
    let folder = sandbox.inside("/etc/rrun");
    fs::create_dir_all(&folder)?;
    let text = format!("[cgroup]\nparent = \"{}\"\n", sandbox.cgroup_parent());
    fs::write(folder.join("rrund.toml"), text)?;
    Ok(harness)
}

/// The write-ahead logs of databases come and go, init reaps when it comes to it, and what collections of
/// containers, once a minute, keep beside the pods stays: a lock and a list. So does the folder of
/// the users that are given out.
fn view(harness: &Harness) -> View {
    let view = harness.view().allow(".db-wal").allow(".db-shm").allow("(zombie)");
    let view = view.allow("/rrun/containers").allow("run/rrun/users");
    // Of containerd and its plugins, which leave their own.
    view.allow("containerd").allow("/cni/").allow("cni_hostport")
}

/// None of which nothing is known yet.
fn pod(entry: &Entry) -> Result<Option<Value>> {
    let Some(state) = &entry.state else { return Ok(None) };
    let spec = entry.pod()?.spec;
    let names = |all: &[rrun_pod::model::Container]| -> Value {
        all.iter().map(|container| json!({"name": container.name})).collect()
    };
    let (init, regular) = (names(&spec.init_containers), names(&spec.containers));
    Ok(Some(json!({
        "metadata": {"uid": entry.uid.as_str()},
        "spec": {"initContainers": init, "containers": regular},
        "status": to_json(&state.status, "rrun"),
    })))
}
