//! The life of a pod phase by phase, and ExecSync.

use super::Rounds;
use super::subject::{Subject, sleeper};
use super::table::Table;
use anyhow::{Result, bail, ensure};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A running pod with one container.
pub struct Pod {
    /// The sandbox.
    pub sandbox: String,
    /// The container.
    pub container: String,
    log: PathBuf,
}

impl Pod {
    /// Waits until the program in it has written to its log that it is ready.
    pub async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&self.log).is_ok_and(|text| text.contains("grown")) {
            ensure!(
                Instant::now() < deadline,
                "{}: the container is not ready",
                self.log.display()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

/// Phases and how long each took, in order.
pub type Phases = Vec<(&'static str, Duration)>;

/// Starts and ends pods one at a time, in the pod network, then in the host's.
pub async fn lives(table: &mut Table, subjects: &[Arc<Subject>], rounds: Rounds) -> Result<()> {
    let networks = [("pod network", NamespaceMode::Pod), ("host network", NamespaceMode::Node)];
    for (network, mode) in networks {
        // The first is not counted: it loads programs, makes bridges and fills caches.
        for round in 0..=rounds.pods {
            for (at, subject) in subjects.iter().enumerate() {
                let name = format!("life-{round}-{}", network.replace(' ', "-"));
                let (pod, started) = start(subject, subject.pod(&name, mode)).await?;
                pod.ready().await?;
                let ended = end(subject, &pod).await?;
                if round > 0 {
                    record(table, at, network, ("start", &started));
                    record(table, at, network, ("end", &ended));
                }
            }
        }
    }
    Ok(())
}

fn record(table: &mut Table, at: usize, network: &str, (whole, phases): (&str, &Phases)) {
    for (phase, time) in phases {
        table.time(&format!("{network}: {phase}"), at, *time);
    }
    table.time(&format!("{network}: {whole}"), at, phases.iter().map(|(_, time)| *time).sum());
}

/// RunPodSandbox, CreateContainer, StartContainer.
pub async fn start(subject: &Subject, config: PodSandboxConfig) -> Result<(Pod, Phases)> {
    start_of(subject, config, sleeper()).await
}

/// The same with another container.
pub async fn start_of(
    subject: &Subject,
    config: PodSandboxConfig,
    container: ContainerConfig,
) -> Result<(Pod, Phases)> {
    let log = Path::new(&config.log_directory).join(&container.log_path);
    // A pod of this name may have been here before, and what it said there is not this one's.
    let _ = std::fs::remove_file(&log);
    let (client, mut phases, mut last) = (&subject.client, Phases::new(), Instant::now());
    let mut lap = |phase| {
        phases.push((phase, last.elapsed()));
        last = Instant::now();
    };
    let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let sandbox = subject.answer("RunPodSandbox", client.run_pod_sandbox(request)).await?;
    lap("RunPodSandbox");
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.pod_sandbox_id.clone(),
        config: Some(container),
        sandbox_config: Some(config),
    };
    let container = subject.answer("CreateContainer", client.create_container(request)).await?;
    lap("CreateContainer");
    let request = StartContainerRequest { container_id: container.container_id.clone() };
    subject.answer("StartContainer", client.start_container(request)).await?;
    lap("StartContainer");
    let pod = Pod { sandbox: sandbox.pod_sandbox_id, container: container.container_id, log };
    Ok((pod, phases))
}

/// StopContainer, RemoveContainer, StopPodSandbox, RemovePodSandbox.
pub async fn end(subject: &Subject, pod: &Pod) -> Result<Phases> {
    let (client, mut phases, mut last) = (&subject.client, Phases::new(), Instant::now());
    let mut lap = |phase| {
        phases.push((phase, last.elapsed()));
        last = Instant::now();
    };
    let request = StopContainerRequest { container_id: pod.container.clone(), timeout: 10 };
    subject.answer("StopContainer", client.stop_container(request)).await?;
    lap("StopContainer");
    let request = RemoveContainerRequest { container_id: pod.container.clone() };
    subject.answer("RemoveContainer", client.remove_container(request)).await?;
    lap("RemoveContainer");
    let request = StopPodSandboxRequest { pod_sandbox_id: pod.sandbox.clone() };
    subject.answer("StopPodSandbox", client.stop_pod_sandbox(request)).await?;
    lap("StopPodSandbox");
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod.sandbox.clone() };
    subject.answer("RemovePodSandbox", client.remove_pod_sandbox(request)).await?;
    lap("RemovePodSandbox");
    Ok(phases)
}

/// ExecSync of a static program that ends, one at a time and ten at a time.
pub async fn execs(table: &mut Table, subjects: &[Arc<Subject>], rounds: Rounds) -> Result<()> {
    let mut pods = Vec::new();
    for subject in subjects {
        let (pod, _) = start(subject, subject.pod("execs", NamespaceMode::Node)).await?;
        pod.ready().await?;
        pods.push(pod);
    }
    for round in 0..=rounds.execs {
        for (at, (subject, pod)) in subjects.iter().zip(&pods).enumerate() {
            let time = exec(subject, &pod.container, &["/bin/true"]).await?;
            if round > 0 {
                table.time("ExecSync, one at a time", at, time);
            }
        }
    }
    // In ten parts, so that every subject sees the same load of the machine.
    for _ in 0..10 {
        for (at, (subject, pod)) in subjects.iter().zip(&pods).enumerate() {
            let begin = Instant::now();
            for time in ten_at_a_time(subject, &pod.container, rounds.execs).await? {
                table.time("ExecSync at concurrency 10", at, time);
            }
            let each = begin.elapsed() / u32::try_from(rounds.execs)?;
            table.time("ExecSync at concurrency 10: wall of one", at, each);
        }
    }
    for (subject, pod) in subjects.iter().zip(&pods) {
        end(subject, pod).await?;
    }
    Ok(())
}

async fn ten_at_a_time(
    subject: &Arc<Subject>,
    container: &str,
    count: usize,
) -> Result<Vec<Duration>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (subject, container, next) = (subject.clone(), container.to_owned(), next.clone());
        workers.spawn(async move {
            let mut times = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                times.push(exec(&subject, &container, &["/bin/true"]).await?);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(worker) = workers.join_next().await {
        times.extend(worker??);
    }
    Ok(times)
}

/// How long a program takes that is run in a container until it ends.
pub async fn exec(subject: &Subject, container: &str, command: &[&str]) -> Result<Duration> {
    let begin = Instant::now();
    let request = ExecSyncRequest {
        container_id: container.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout: 60,
    };
    let answer = subject.answer("ExecSync", subject.client.exec_sync(request)).await?;
    if answer.exit_code != 0 {
        bail!("{}: ExecSync: exit code {}", subject.name, answer.exit_code);
    }
    Ok(begin.elapsed())
}
