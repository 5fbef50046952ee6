//! A hundred pods of a folder of manifests, each probed over HTTP every second: what `rrun manifests` and the
//! shims take when all of them run and nothing happens.

use super::Rounds;
use super::cost::Cost;
use super::hundred::{pss, pss_of};
use super::subject::registries;
use super::table::Table;
use crate::harness::WORK;
use crate::leaks::processes::processes;
use crate::limit;
use crate::place;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PODS: usize = 100;
/// How long they may take to become ready.
const PATIENCE: Duration = Duration::from_secs(180);
/// What is done once after a start is over by then.
const SETTLED: Duration = Duration::from_secs(15);

/// Each build in turn.
pub fn run(table: &mut Table, builds: &[PathBuf], rounds: Rounds) -> Result<()> {
    for (at, folder) in builds.iter().enumerate() {
        let node = Node::new(folder)?;
        let before = node.processes()?;
        let mut keeper = node.keeper()?;
        let measured = node.measure(keeper.id(), &before, rounds.idle);
        keeper.kill()?;
        keeper.wait()?;
        let Measured { cpu, own, shims } = measured?;
        let count = PODS as f64;
        table.add("100 static pods: CPU [% of a core]", at, cpu * 100.0);
        table.add("100 static pods: memory per pod [MiB]", at, (own + shims) / count);
        table.add("100 static pods: of it in shims [MiB]", at, shims / count);
    }
    Ok(())
}

/// The folders of the builds that are compared: this one, and the one before if it is named.
pub fn builds(before: Option<&Path>) -> Result<Vec<PathBuf>> {
    let ours = place::program("rrun")?;
    let ours = ours.parent().context("no folder")?.to_owned();
    Ok([Some(ours), before.map(Path::to_owned)].into_iter().flatten().collect())
}

struct Node {
    rrun: PathBuf,
    sandbox: Sandbox,
    config: PathBuf,
}

impl Node {
    fn new(folder: &Path) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let certs = sandbox.inside("/etc/rrun/certs.d");
        let _registries = registries(&sandbox, &certs, None)?;
        let config = sandbox.root().join("rrund.toml");
        std::fs::write(&config, format!("[cgroup]\nparent = \"{}\"\n", sandbox.cgroup_parent()))?;
        let node = Self { rrun: place::program_in(folder, "rrun")?, sandbox, config };
        let pulled = limit::output(node.command().args(["pull", WORK]))?;
        ensure!(pulled.status.success(), "pull: {}", String::from_utf8_lossy(&pulled.stderr));
        let manifests = node.manifests();
        std::fs::create_dir_all(&manifests)?;
        for at in 0..PODS {
            std::fs::write(manifests.join(format!("{at}.yaml")), manifest(at))?;
        }
        Ok(node)
    }

    fn manifests(&self) -> PathBuf {
        self.sandbox.root().join("manifests")
    }

    fn command(&self) -> Command {
        let mut command = self.sandbox.command(&self.rrun);
        command.arg("--config").arg(&self.config).stdin(Stdio::null());
        command
    }

    /// The process that runs the pods, when all are ready.
    fn keeper(&self) -> Result<Child> {
        let mut command = self.command();
        let mut keeper = command.args(["manifests", "--dir"]).arg(self.manifests()).spawn()?;
        let begun = Instant::now();
        while self.ready()? < PODS {
            if begun.elapsed() > PATIENCE {
                let ready = self.ready()?;
                keeper.kill()?;
                keeper.wait()?;
                bail!("{ready} of {PODS} pods are ready after {PATIENCE:?}");
            }
            sleep(Duration::from_millis(500));
        }
        Ok(keeper)
    }

    fn ready(&self) -> Result<usize> {
        let listed = limit::output(self.command().args(["ps"]))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        Ok(listed.lines().filter(|line| line.split_whitespace().nth(2) == Some("1/1")).count())
    }

    /// What is taken by the keeper and by what was not there before it. The pods are ended with the
    /// sandbox.
    fn measure(&self, keeper: u32, before: &BTreeSet<u32>, idle: Duration) -> Result<Measured> {
        sleep(SETTLED);
        let cost = Cost::begin(keeper)?;
        sleep(idle);
        let cpu = cost.cpu()? / idle.as_secs_f64();
        let now = self.processes()?;
        let shims = now.difference(before).filter(|pid| **pid != keeper);
        Ok(Measured { cpu, own: pss(keeper).context("its memory")?, shims: pss_of(shims) })
    }

    /// Those of the sandbox but the workload's.
    fn processes(&self) -> Result<BTreeSet<u32>> {
        let lines = processes(&self.sandbox.view())?;
        let others = lines.iter().filter_map(|line| {
            let (pid, name) = line.split_once(' ')?;
            if name == "work" { None } else { pid.parse().ok() }
        });
        Ok(others.collect())
    }
}

/// Of a core, and MiB.
struct Measured {
    cpu: f64,
    own: f64,
    shims: f64,
}

fn manifest(at: usize) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: static-{at}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {WORK}
      imagePullPolicy: IfNotPresent
      command: [/bin/work, serve, '8080', ok]
      readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}
"
    )
}
