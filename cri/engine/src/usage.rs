//! What containers and pods use: figures of control groups, layers and interfaces.

use crate::error::Result;
use crate::id::Owner;
use crate::phase::{ContainerPhase, PodPhase};
use crate::stats::{ContainerStats, InterfaceUsage, PodStats};
use crate::status::{ContainerFilter, PodFilter};
use crate::table::{Container, Pod, Shared, blocking};
use crate::view;
use std::sync::Arc;

/// How many containers are measured at a time.
const AT_ONCE: usize = 8;

pub(crate) async fn container(engine: &Shared, container: &Container) -> ContainerStats {
    let record = container.record();
    let usage = match record.phase {
        // A container that has ended counts nothing any more.
        ContainerPhase::Created | ContainerPhase::Running => {
            engine.ports.host.usage(&record.cgroup).await.ok().map(|(usage, _)| usage)
        }
        _ => None,
    };
    let writable_layer = engine.ports.images.writable_usage(record.id.as_str()).await.ok();
    ContainerStats {
        id: record.id.clone(),
        config: Arc::clone(&record.config),
        usage,
        writable_layer,
    }
}

pub(crate) async fn containers(
    engine: &Arc<Shared>,
    owner: &Owner,
    filter: &ContainerFilter,
) -> Vec<ContainerStats> {
    let mut filter = filter.clone();
    filter.phase = Some(ContainerPhase::Running);
    let rows = engine.table.containers(owner).into_iter().map(|(_, container)| container);
    let rows: Vec<_> = rows.filter(|row| view::passes(&row.record(), &filter)).collect();
    measure(engine, rows).await
}

/// Measures a few at a time: one slow group does not hold up all, and a node full of containers
/// does not flood the blocking threads.
async fn measure(engine: &Arc<Shared>, rows: Vec<Arc<Container>>) -> Vec<ContainerStats> {
    let count = rows.len();
    let share = count.div_ceil(AT_ONCE).max(1);
    let mut tasks = Vec::with_capacity(AT_ONCE);
    for part in rows.chunks(share).map(<[_]>::to_vec) {
        let engine = Arc::clone(engine);
        tasks.push(tokio::spawn(async move {
            let mut all = Vec::with_capacity(part.len());
            for row in part {
                all.push(container(&engine, &row).await);
            }
            all
        }));
    }
    let mut all = Vec::with_capacity(count);
    for task in tasks {
        // A task that broke off has nothing to tell.
        all.extend(task.await.unwrap_or_default());
    }
    all
}

pub(crate) async fn pod(engine: &Arc<Shared>, pod: &Arc<Pod>) -> PodStats {
    let record = pod.record();
    let ready = record.phase == PodPhase::Ready;
    let (usage, processes) = match ready {
        true => engine.ports.host.usage(&record.cgroup).await.ok().unzip(),
        false => (None, None),
    };
    let mut rows = engine.table.containers_of(&pod.id);
    rows.retain(|row| row.record().phase == ContainerPhase::Running);
    let witness = rows.iter().map(|row| row.record().pid).find(|pid| *pid > 0).or(record.reaper);
    let interfaces = match (record.netns.is_some(), witness) {
        (true, Some(pid)) => interfaces(pid).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    PodStats {
        id: pod.id.clone(),
        config: Arc::clone(&pod.config),
        usage,
        interfaces,
        processes: processes.flatten(),
        containers: measure(engine, rows).await,
    }
}

pub(crate) async fn pods(engine: &Arc<Shared>, owner: &Owner, filter: &PodFilter) -> Vec<PodStats> {
    let mut filter = filter.clone();
    filter.ready = Some(true);
    let mut all = Vec::new();
    for row in engine.table.pods(owner) {
        if view::pod_item(&row, &filter).is_some() {
            all.push(pod(engine, &row).await);
        }
    }
    all
}

/// The counters of the network namespace of a process.
async fn interfaces(pid: i32) -> Result<Vec<InterfaceUsage>> {
    use crate::error::Context;
    blocking(move || {
        let path = format!("/proc/{pid}/net/dev");
        let text = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
        Ok(parse_net_dev(&text))
    })
    .await
}

/// Reads `/proc/net/dev`: two lines of titles, then per interface 8 counters received and 8 sent;
/// `lo` is left out.
fn parse_net_dev(text: &str) -> Vec<InterfaceUsage> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().flat_map(str::parse).collect();
        let name = name.trim().to_owned();
        let count = |at: usize| counters.get(at).copied();
        Some(InterfaceUsage {
            rx_bytes: count(0)?,
            rx_errors: count(2)?,
            tx_bytes: count(8)?,
            tx_errors: count(10)?,
            name,
        })
    };
    let all = text.lines().skip(2).filter_map(line);
    let mut all: Vec<_> = all.filter(|interface| interface.name != "lo").collect();
    // The default one comes first.
    all.sort_by_key(|interface| interface.name != "eth0");
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_dev_is_read_with_eth0_first_and_without_lo() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets errs\n\
            lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
            aux0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n\
            eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0\n\
            torn: 1 2\n";
        let all = parse_net_dev(text);
        let names: Vec<_> = all.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names, ["eth0", "aux0"]);
        let first = &all[0];
        let counters = (first.rx_bytes, first.rx_errors, first.tx_bytes, first.tx_errors);
        assert_eq!(counters, (100, 3, 200, 5));
    }
}
