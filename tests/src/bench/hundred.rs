//! A hundred pods at concurrency 10, lists beside them, and their memory.

use super::Rounds;
use super::pods::{Pod, end, start};
use super::subject::{OwnDaemon, Subject};
use super::table::Table;
use crate::leaks::processes::processes;
use anyhow::{Context, Result};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

const PODS: usize = 100;
const WORKERS: usize = 10;

/// One subject after the other has a hundred pods; each time all of them end.
pub async fn run(table: &mut Table, subjects: &[Arc<Subject>], rounds: Rounds) -> Result<()> {
    let mut errors = vec![0; subjects.len()];
    for round in 0..rounds.hundreds {
        for (at, subject) in subjects.iter().enumerate() {
            let before = subject.own.as_ref().map(Memory::take).transpose()?;
            let begin = Instant::now();
            let (pods, failed) = start_all(subject, round).await?;
            let wall = begin.elapsed().as_secs_f64();
            table.add("100 pods at concurrency 10: start [s]", at, wall);
            lists(table, at, subject, rounds.lists).await?;
            if let (Some(before), Some(own)) = (before, &subject.own) {
                let grown = Memory::take(own)?;
                let supervisors = pss_of(grown.others.difference(&before.others));
                let daemon = grown.daemon - before.daemon;
                let count = pods.len().max(1) as f64;
                table.add("100 pods: memory per pod [MiB]", at, (supervisors + daemon) / count);
                table.add("100 pods: of it the daemon's growth [MiB]", at, daemon / count);
                table.add("100 pods: the daemon's memory [MiB]", at, grown.daemon);
            }
            for pod in &pods {
                pod.ready().await?;
            }
            let begin = Instant::now();
            errors[at] += failed + end_all(subject, pods).await?;
            table.add("100 pods at concurrency 10: end [s]", at, begin.elapsed().as_secs_f64());
        }
    }
    for (at, errors) in errors.into_iter().enumerate() {
        table.add("100 pods: errors", at, errors as f64);
    }
    Ok(())
}

async fn start_all(subject: &Arc<Subject>, round: usize) -> Result<(Vec<Pod>, usize)> {
    let work = (0..WORKERS).map(|worker| {
        let subject = subject.clone();
        async move {
            let mut outcomes = Vec::new();
            for pod in (worker..PODS).step_by(WORKERS) {
                let config = subject.pod(&format!("hundred-{round}-{pod}"), NamespaceMode::Pod);
                outcomes.push(start(&subject, config).await.map(|(pod, _)| pod));
            }
            outcomes
        }
    });
    gather(work).await
}

async fn end_all(subject: &Arc<Subject>, pods: Vec<Pod>) -> Result<usize> {
    let mut shares: Vec<Vec<Pod>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for (at, pod) in pods.into_iter().enumerate() {
        shares[at % WORKERS].push(pod);
    }
    let work = shares.into_iter().map(|share| {
        let subject = subject.clone();
        async move {
            let mut outcomes = Vec::new();
            for pod in share {
                outcomes.push(end(&subject, &pod).await);
            }
            outcomes
        }
    });
    Ok(gather(work).await?.1)
}

/// What succeeded, and how many did not; each error is told.
async fn gather<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = Vec<Result<T>>> + Send + 'static>,
) -> Result<(Vec<T>, usize)> {
    let mut workers = JoinSet::new();
    work.for_each(|share| {
        workers.spawn(share);
    });
    let (mut done, mut errors) = (Vec::new(), 0);
    while let Some(outcomes) = workers.join_next().await {
        for outcome in outcomes? {
            match outcome {
                Ok(value) => done.push(value),
                Err(error) => {
                    eprintln!("{error:#}");
                    errors += 1;
                }
            }
        }
    }
    Ok((done, errors))
}

async fn lists(table: &mut Table, at: usize, subject: &Subject, count: usize) -> Result<()> {
    let client = &subject.client;
    for _ in 0..count {
        let begin = Instant::now();
        subject.answer("ListPodSandbox", client.list_pod_sandbox(Default::default())).await?;
        table.time("ListPodSandbox of 100", at, begin.elapsed());
        let begin = Instant::now();
        subject.answer("ListContainers", client.list_containers(Default::default())).await?;
        table.time("ListContainers of 100", at, begin.elapsed());
        let begin = Instant::now();
        subject
            .answer("ListContainerStats", client.list_container_stats(Default::default()))
            .await?;
        table.time("ListContainerStats of 100", at, begin.elapsed());
    }
    Ok(())
}

/// Proportional set sizes in MiB: a page that several processes map counts once among them.
struct Memory {
    daemon: f64,
    /// All processes of the sandbox but the workload.
    others: BTreeSet<u32>,
}

impl Memory {
    fn take(own: &OwnDaemon) -> Result<Self> {
        let daemon = own.daemon.pid();
        let lines = processes(&own.view())?;
        let others = lines.iter().filter_map(|line| {
            let (pid, name) = line.split_once(' ')?;
            if name == "work" { None } else { pid.parse().ok() }
        });
        let others = others.filter(|pid| *pid != daemon).collect();
        Ok(Self { daemon: pss(daemon).context("the daemon's memory")?, others })
    }
}

/// Those that have ended meanwhile have none.
pub fn pss_of<'a>(pids: impl Iterator<Item = &'a u32>) -> f64 {
    pids.filter_map(|pid| pss(*pid).ok()).sum()
}

/// The proportional set size of a process in MiB.
pub fn pss(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
