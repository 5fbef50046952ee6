//! What metrics tell of containers: read in the background for as long as somebody asks, because
//! whoever scrapes them asks for everything of everybody at once.

use crate::id::{Owner, PodId};
use crate::phase::{ContainerPhase, PodPhase};
use crate::stats::{ContainerMetrics, PodMetrics};
use crate::table::{Container, Pod, Shared};
use crate::usage;
use rrun_sys::time;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often everything is read.
const EVERY: Duration = Duration::from_secs(10);
/// Figures that are older, nanoseconds, are read when they are asked for: at the first time, and those
/// of what was started since.
const OLD: i64 = 15_000_000_000;
/// So many pods are read at a time.
const AT_A_TIME: usize = 16;
/// After they were read there is a rest of so many times as long: reading takes a quarter of a thread
/// at most.
const REST: u32 = 3;

/// Reads figures for those who ask, as long as the engine lives.
pub(crate) fn watch(engine: &Arc<Shared>) {
    let scrapers = Arc::clone(&engine.scrapers);
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        while engine.strong_count() > 0 {
            if !scrapers.are_there() {
                let _ = timeout(EVERY, scrapers.come()).await;
                continue;
            }
            // What was asked for now was read by the call.
            sleep(EVERY).await;
            round(&engine).await;
        }
    });
}

/// Reads everything, unless the engine is gone.
async fn round(engine: &Weak<Shared>) {
    let Some(pods) = engine.upgrade().map(|engine| ready(&engine, None)) else { return };
    for few in pods.chunks(AT_A_TIME) {
        let Some(engine) = engine.upgrade() else { return };
        let began = Instant::now();
        read(&engine, few, 0).await;
        drop(engine);
        sleep(began.elapsed() * REST).await;
    }
}

/// A pod and its running containers.
type Row = (Arc<Pod>, Vec<Arc<Container>>);

/// The ready pods of an owner or of all, in the order in which they were made.
fn ready(engine: &Shared, owner: Option<&Owner>) -> Vec<Row> {
    let pods = match owner {
        Some(owner) => engine.table.pods(owner),
        None => engine.table.all_pods(),
    };
    let ready = pods.into_iter().filter(|pod| pod.record().phase == PodPhase::Ready);
    let mut rows: BTreeMap<PodId, Row> =
        ready.map(|pod| (pod.id.clone(), (pod, Vec::new()))).collect();
    for container in engine.table.all_containers() {
        let record = container.record();
        let runs = record.phase == ContainerPhase::Running;
        if let Some((_, containers)) = rows.get_mut(&record.pod).filter(|_| runs) {
            containers.push(container);
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|(pod, _)| pod.record().created_at);
    for (_, containers) in &mut rows {
        containers.sort_by_key(|container| container.record().created_at);
    }
    rows
}

/// Reads the figures that are older than `age`, all at one go.
async fn read(engine: &Shared, rows: &[Row], age: i64) {
    let now = time::now();
    let containers = rows.iter().flat_map(|(_, containers)| containers);
    let old: Vec<_> = containers.filter(|row| !row.counts.is_younger(now, age)).collect();
    if !old.is_empty() {
        let group = |row: &Arc<Container>| {
            let record = row.record();
            (record.cgroup.clone(), record.pid)
        };
        let groups = old.iter().map(|row| group(row)).collect();
        let counts = engine.ports.host.counts(groups).await;
        let now = time::now();
        for (row, counts) in old.into_iter().zip(counts) {
            row.counts.put(now, counts);
        }
    }
    let pods = rows.iter().map(|(pod, _)| pod);
    let old: Vec<_> = pods.filter(|pod| !pod.interfaces.is_younger(now, age)).cloned().collect();
    usage::read_interfaces(engine, &old).await;
}

pub(crate) async fn pods(engine: &Shared, owner: &Owner) -> Vec<PodMetrics> {
    engine.scrapers.ask();
    let rows = ready(engine, Some(owner));
    read(engine, &rows, OLD).await;
    rows.iter().map(pod_metrics).collect()
}

fn pod_metrics((pod, containers): &Row) -> PodMetrics {
    PodMetrics {
        id: pod.id.clone(),
        config: Arc::clone(&pod.config),
        interfaces: pod.interfaces.last(),
        containers: containers.iter().map(container_metrics).collect(),
    }
}

fn container_metrics(container: &Arc<Container>) -> ContainerMetrics {
    let record = container.record();
    ContainerMetrics {
        id: container.id.clone(),
        config: Arc::clone(&container.config),
        base: record.base.clone(),
        started_at: record.started_at,
        resources: record.resources.clone(),
        counts: container.counts.last(),
        writable_layer: container.layer(),
    }
}
