//! `kubelet`: a real kubelet with static pods on rrund, and the same pods without one; `kubelet
//! containerd`: on containerd as well. The last line counts what held.

use anyhow::{Context, Result, bail, ensure};
use rrun_cri_api::v1::ImageFsInfoRequest;
use rrun_cri_api::{Client, Cri};
use rrun_tests::harness::{BUSYBOX, Harness, WORK};
use rrun_tests::kubelet::{
    Alone, Difference, History, Known, Kubelet, Pod, Told, Under, all, before, chosen, differences,
    follow, write,
};
use rrun_tests::leaks::Snapshot;
use rrun_tests::place;
use rrun_tests::tally::Tally;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> ExitCode {
    let mut tally = Tally::default();
    if let Err(error) = run(&mut tally).await {
        tally.count("the suite runs to its end", Err(error));
    }
    tally.tell()
}

/// All that the claims are made about.
struct Node {
    harness: Harness,
    kubelet: Option<Kubelet>,
    /// A hostPath of the pods.
    shared: PathBuf,
    /// The folder of what they wait for.
    seen: PathBuf,
}

async fn run(tally: &mut Tally) -> Result<()> {
    let harness = Harness::start().await?;
    harness.pull(WORK).await?;
    let grown = image_fs(&harness).await?;
    harness.pull(BUSYBOX).await?;
    let more = image_fs(&harness).await? > grown;
    tally.count("a pull grows ImageFsInfo", holds(more, "it did not"));
    harness.warm().await?;
    let view = harness.kubelet_view();
    let before = Snapshot::take(&view)?;

    let shared = harness.sandbox().root().join("shared");
    fs::create_dir(&shared)?;
    let kubelet = Some(Kubelet::start(harness.sandbox())?);
    let seen = harness.sandbox().root().join("seen");
    let mut node = Node { harness, kubelet, shared, seen };
    let result = node.claims(tally).await;
    if tally.failed() > 0 || result.is_err() {
        println!("{}", node.kubelet()?.log_end());
        println!("{}", node.harness.daemon().map(|d| d.log()).unwrap_or_default());
    }
    result?;
    node.kubelet = None;
    node.harness.remove_kubelet_groups()?;
    tally.count("nothing is left", before.assert_nothing_left(&view));
    Ok(())
}

fn holds(held: bool, otherwise: &str) -> Result<()> {
    ensure!(held, "{otherwise}");
    Ok(())
}

async fn image_fs(harness: &Harness) -> Result<u64> {
    let info = harness.client.image_fs_info(ImageFsInfoRequest {}).await?;
    let used = info.image_filesystems.first().and_then(|fs| fs.used_bytes);
    Ok(used.context("no image filesystem")?.value)
}

impl Node {
    fn kubelet(&self) -> Result<&Kubelet> {
        self.kubelet.as_ref().context("no kubelet runs")
    }

    async fn claims(&mut self, tally: &mut Tally) -> Result<()> {
        let alone = alone(tally).await;
        let manifests = self.kubelet()?.manifests();
        for (number, pod) in all().enumerate() {
            before(number).await;
            write(&pod, &manifests, &self.shared, &self.seen)?;
        }
        let told = |pods: Vec<(String, Value)>| pods.into_iter().map(|(n, p)| (n, Told::Pod(p)));
        let histories =
            follow(async || Ok(told(self.kubelet()?.pods()?).collect()), &self.seen).await?;
        for pod in all() {
            let history = &histories[pod.name];
            let held = holds(history.is_complete(&pod), &rows(history));
            tally.count(&format!("{} goes its way", pod.name), held);
        }
        match alone {
            Ok(alone) => compare(tally, &histories, &alone)?,
            Err(error) => tally.count("rrun runs the same pods", Err(error)),
        }
        let all_run = chosen().is_none();
        if all_run {
            self.beyond(tally).await?;
        }
        for entry in fs::read_dir(self.kubelet()?.manifests())? {
            fs::remove_file(entry?.path())?;
        }
        tally.count("pods go with their manifests", self.harness.emptied().await);
        if all_run {
            let hooks = fs::read_to_string(self.shared.join("hooks"))?;
            let said = hooks == "started\nstopping\n";
            tally.count("each hook ran once", holds(said, &format!("{hooks:?}")));
        }
        Ok(())
    }

    /// What is claimed of some of the pods, beyond the states that they come to.
    async fn beyond(&mut self, tally: &mut Tally) -> Result<()> {
        tally.count("addresses and ids are those of the pods", self.identities());
        tally.count("logs, exec and port-forward work", self.streams());
        tally.count("stats show what is used", self.stats());

        let (was, crashes) = (self.fixed()?, self.crashes()?);
        self.kubelet = None;
        self.kubelet = Some(Kubelet::start(self.harness.sandbox())?);
        tally.count("pods go on under another kubelet", self.unchanged(&was));
        self.harness.restart()?;
        let endpoint = self.harness.daemon().context("no daemon")?.endpoint();
        self.harness.client = Client::connect(&endpoint).await?;
        tally.count("pods go on under another daemon", self.unchanged(&was));

        let kept = self.crashes()? > crashes;
        tally.count("restarts are counted on", holds(kept, &format!("not beyond {crashes}")));
        Ok(())
    }

    fn pod(&self, name: &str) -> Result<Value> {
        let all = self.kubelet()?.pods()?;
        let found = all.into_iter().find(|(pod, _)| pod == name);
        Ok(found.with_context(|| format!("no pod {name}"))?.1)
    }

    fn identities(&self) -> Result<()> {
        for (name, pod) in self.kubelet()?.pods()? {
            let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
            let over = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
            match name.as_str() {
                // It waits for a folder before it has a sandbox.
                "nowhere" => {}
                "host" | "agent" | "etcd" | "hostprobe" => {
                    ensure!(pod["status"]["podIP"] == pod["status"]["hostIP"], "{ip}")
                }
                _ => ensure!(over || !ip.is_empty() && ip != "127.0.0.1", "{name}: {ip:?}"),
            }
            for status in containers(&pod) {
                let id = status["containerID"].as_str().unwrap_or_default();
                let waits = status["state"]["waiting"].is_object();
                ensure!(waits || id.starts_with("rrun://"), "{name}: {status}");
            }
        }
        Ok(())
    }

    fn streams(&self) -> Result<()> {
        let kubelet = self.kubelet()?;
        let pod = self.pod("init")?;
        let ip = pod["status"]["podIP"].as_str().context("no address")?;
        let page = kubelet.fetch(&format!("http://{ip}:8080/"))?;
        ensure!(page == "prepared\n", "the page: {page:?}");
        let log = kubelet.get("/containerLogs/default/stats-127.0.0.1/hold")?;
        ensure!(log == "held\n", "the log: {log:?}");
        let exec = "/exec/default/init-127.0.0.1/web?output=1&error=1&command=cat&command=/data/index.html";
        for transport in [&["exec", "-stdout", "-stderr"][..], &["exec", "-websocket", "-stdout"]] {
            let output = kubelet.stream(transport, exec)?;
            ensure!(output == "prepared\n", "{transport:?}: {output:?}");
        }
        let forward = ["forward", "-port", "7", "-connections", "4", "-bytes", "100000"];
        kubelet.stream(&forward, "/portForward/default/ready-127.0.0.1")?;
        Ok(())
    }

    /// Within 20 %, some time: a figure is some seconds old, and rates need two.
    fn stats(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let summary: Value = serde_json::from_str(&self.kubelet()?.get("/stats/summary")?)?;
            match plausible(&summary) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    /// What a restart of kubelet or daemon must not change: running containers' ids and counts.
    fn fixed(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (name, pod) in self.kubelet()?.pods()? {
            // Those that are started again and again, and those whose deadline has passed: another
            // kubelet knows no more that it has.
            let goes_on =
                |row: &&str| row.contains("CrashLoopBackOff") || row.contains("DeadlineExceeded");
            let changes = name == "endside"
                || all().any(|pod| pod.name == name && pod.rows.iter().any(goes_on));
            for status in containers(&pod).filter(|_| !changes) {
                let key = format!("{name}/{}", status["name"]);
                let (id, restarts) = (&status["containerID"], &status["restartCount"]);
                found.insert(key, format!("{id} r{restarts}"));
            }
        }
        Ok(found)
    }

    fn crashes(&self) -> Result<u64> {
        let pod = self.pod("crash")?;
        let status = containers(&pod).next().context("no status")?;
        status["restartCount"].as_u64().context("no count")
    }

    fn unchanged(&self, was: &BTreeMap<String, String>) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        // A kubelet that has just started knows nothing: it must come to the same, and stay there.
        let mut same_since = None;
        loop {
            let now = self.fixed()?;
            if &now == was {
                let since = *same_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_secs(5) {
                    return Ok(());
                }
            } else {
                same_since = None;
            }
            if Instant::now() > deadline {
                let other = now.iter().filter(|(key, id)| was.get(*key) != Some(id));
                bail!("{:#?}", other.collect::<Vec<_>>());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// All histories of one run.
type Histories = BTreeMap<String, History>;

/// The way of all pods through `rrun`, on one runtime after the other: at the same time they would
/// keep each other from the states that they are to be seen in. On containerd where it is asked for.
async fn alone(tally: &mut Tally) -> Result<Vec<(Under, Histories)>> {
    let on_containerd = std::env::args().nth(1).as_deref() == Some("containerd");
    let mut runs = Vec::new();
    for under in [Under::Itself, Under::Endpoint, Under::Containerd] {
        if under == Under::Containerd && !on_containerd {
            continue;
        }
        let mut alone = Alone::start(under).await?;
        let histories = alone.follow().await?;
        tally.count(&format!("nothing is left of {under}"), alone.remove());
        runs.push((under, histories));
    }
    Ok(runs)
}

/// One claim for each pod on each runtime, and one for each list of what is known to differ.
fn compare(tally: &mut Tally, kubelet: &Histories, runs: &[(Under, Histories)]) -> Result<()> {
    let list = |name: &str| Known::read(&place::workspace().join("tests/kubelet").join(name));
    let (ours, of_containerd) = (list("differences.txt")?, list("differences-on-containerd.txt")?);
    let all_known = ours.and(&of_containerd);
    let (mut found, mut on_containerd) = (Vec::new(), Vec::new());
    for (under, rrun) in runs {
        let (known, found) = match under {
            Under::Itself | Under::Endpoint => (&ours, &mut found),
            Under::Containerd => (&all_known, &mut on_containerd),
        };
        for pod in all() {
            let differences = of_pod(&pod, &kubelet[pod.name], &rrun[pod.name]);
            let new = differences.iter().filter(|difference| !known.has(difference));
            let mut lines: String = new.map(|difference| format!("\n    {difference}")).collect();
            if !lines.is_empty() {
                lines += &rows(&rrun[pod.name]);
            }
            let claim = format!("{} goes under {under} as under the kubelet", pod.name);
            tally.count(&claim, holds(lines.is_empty(), &lines));
            found.extend(differences);
        }
    }
    if chosen().is_some() {
        return Ok(());
    }
    let mut there = |list: &Known, found: &[Difference]| {
        let stale = list.stale(found).join("\n    ");
        let held = holds(stale.is_empty(), &format!("no such difference any more:\n    {stale}"));
        tally.count("all known differences are there", held);
    };
    there(&ours, &found);
    if !on_containerd.is_empty() {
        there(&of_containerd, &on_containerd);
    }
    Ok(())
}

/// What differs of a pod, and whether it does not come to what it is to come to.
fn of_pod(pod: &Pod, kubelet: &History, rrun: &History) -> Vec<Difference> {
    let mut found = differences(pod.name, kubelet, rrun);
    if rrun.refused().is_none() && !rrun.is_complete(pod) {
        found.push(Difference::of_states(pod.name));
    }
    found
}

/// All that was seen of a pod.
fn rows(history: &History) -> String {
    history.rows().iter().map(|row| format!("\n    {row}")).collect()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|kind| pod["status"][kind].as_array().into_iter().flatten())
}

fn plausible(summary: &Value) -> Result<()> {
    let pods = summary["pods"].as_array().context("no pods")?;
    let pod = pods.iter().find(|pod| pod["podRef"]["name"] == "stats-127.0.0.1");
    let all = pod.context("no pod `stats`")?["containers"].as_array().context("no containers")?;
    let figure = |name: &str, kind: &str, key: &str| {
        let container = all.iter().find(|container| container["name"] == name);
        container.and_then(|c| c[kind][key].as_f64()).with_context(|| format!("{name}: no {kind}"))
    };
    let near = |what: &str, is: f64, wanted: f64| {
        ensure!((0.8..=1.2).contains(&(is / wanted)), "{what}: {is}, not {wanted}");
        Ok(())
    };
    near("cpu", figure("burn", "cpu", "usageNanoCores")?, 250e6)?;
    near("memory", figure("hold", "memory", "workingSetBytes")?, f64::from(50 << 20))?;
    near("disk", figure("write", "rootfs", "usedBytes")?, f64::from(10 << 20))
}
