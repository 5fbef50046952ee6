//! Disk that a pod may not take: measured as the kubelet's eviction manager does, which ends a
//! pod that takes more than its `emptyDir.sizeLimit` or its `ephemeral-storage` limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rrun_cri_api::{Cri, v1};
use tokio::sync::watch;

use crate::error::{Context as _, Error, Result};
use crate::model::{Medium, Pod, VolumeSource};
use crate::node::{DiskUsage, Node};
use crate::resources;
use crate::translate::labels;

/// How often a pod is measured (`evictionMonitoringPeriod`).
const PERIOD: Duration = Duration::from_secs(10);

/// What one pod takes of the disk, in bytes.
#[derive(Clone, Debug, Default)]
struct Usage {
    /// Outside of its containers' root file systems.
    node: DiskUsage,
    /// The writable layer of each container.
    layers: BTreeMap<String, u64>,
}

/// Measures a pod until `stopping`, and tells the kubelet's sentence when it takes too much. A
/// pod without limits is not measured at all.
pub async fn watch(
    pod: Arc<Pod>,
    (cri, node): (Arc<dyn Cri>, Arc<dyn Node>),
    mut stopping: watch::Receiver<bool>,
    excess: watch::Sender<Option<String>>,
) {
    if !is_limited(&pod) {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        match measure(&pod, &*cri, &*node).await {
            Ok(usage) => {
                if let Some(message) = exceeded(&pod, &usage) {
                    excess.send_replace(Some(message));
                    return;
                }
            }
            Err(e) => tracing::warn!(pod = %pod.meta.name, "{e}"),
        }
    }
}

fn is_limited(pod: &Pod) -> bool {
    let volume = |source: &VolumeSource| matches!(source, VolumeSource::EmptyDir(dir) if dir.size_limit.is_some());
    pod.spec.volumes.iter().any(|v| volume(&v.source))
        || resources::pod_limits(pod).ephemeral_storage.is_some()
}

async fn measure(pod: &Arc<Pod>, cri: &dyn Cri, node: &dyn Node) -> Result<Usage> {
    let filter = v1::ContainerStatsFilter {
        label_selector: labels::selector(&pod.meta),
        ..Default::default()
    };
    let request = v1::ListContainerStatsRequest { filter: Some(filter) };
    let stats = match cri.list_container_stats(request).await {
        Ok(reply) => reply.stats,
        Err(e) if e.code() == tonic::Code::Unimplemented => Vec::new(),
        Err(e) => return Err(Error::status("container stats", &e)),
    };
    let what = || format!("measure pod {}", pod.meta.name);
    let node = node.disk_usage(pod.clone()).await.context(what)?;
    Ok(Usage { node, layers: layers(stats) })
}

/// By container; of several runs the latest counts.
fn layers(stats: Vec<v1::ContainerStats>) -> BTreeMap<String, u64> {
    let mut latest: BTreeMap<String, (u32, u64)> = BTreeMap::new();
    for one in stats {
        let Some(attributes) = one.attributes else { continue };
        let bytes = one.writable_layer.and_then(|l| l.used_bytes).map_or(0, |used| used.value);
        let attempt = attributes.metadata.map_or(0, |m| m.attempt);
        let Some(name) = attributes.labels.get(labels::CONTAINER_NAME) else { continue };
        let found = latest.entry(name.clone()).or_default();
        *found = (*found).max((attempt, bytes));
    }
    latest.into_iter().map(|(name, (_, bytes))| (name, bytes)).collect()
}

/// The kubelet's sentence about the first limit that is exceeded, in its order: volumes, the pod,
/// its containers (`localStorageEviction`).
fn exceeded(pod: &Pod, usage: &Usage) -> Option<String> {
    volume(pod, usage).or_else(|| whole(pod, usage)).or_else(|| container(pod, usage))
}

fn volume(pod: &Pod, usage: &Usage) -> Option<String> {
    pod.spec.volumes.iter().find_map(|volume| {
        let VolumeSource::EmptyDir(dir) = &volume.source else { return None };
        let limit = dir.size_limit.filter(|limit| limit.value() > 0)?;
        let used = *usage.node.volumes.get(&volume.name)?;
        over(used, limit.value()).then(|| {
            let limit = limit.canonical();
            format!("Usage of EmptyDir volume {:?} exceeds the limit {limit:?}. ", volume.name)
        })
    })
}

fn whole(pod: &Pod, usage: &Usage) -> Option<String> {
    let limit = resources::pod_limits(pod).ephemeral_storage?;
    let on_disk = |name: &String| {
        pod.spec.volumes.iter().any(|v| {
            v.name == *name
                && match &v.source {
                    VolumeSource::EmptyDir(dir) => dir.medium == Medium::Disk,
                    VolumeSource::Projected { in_memory, .. } => !in_memory,
                    VolumeSource::HostPath { .. }
                    | VolumeSource::Claim { .. }
                    | VolumeSource::Image { .. } => false,
                }
        })
    };
    let volumes = usage.node.volumes.iter().filter(|(name, _)| on_disk(name));
    let parts = volumes.map(|(_, bytes)| bytes).chain(usage.node.logs.values());
    let used: u64 = parts.chain(usage.layers.values()).sum::<u64>() + usage.node.hosts;
    over(used, limit.value()).then(|| {
        format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {}. ",
            limit.canonical()
        )
    })
}

fn container(pod: &Pod, usage: &Usage) -> Option<String> {
    pod.spec.containers.iter().find_map(|container| {
        let limit = container.resources.limits.ephemeral_storage.filter(|q| q.value() != 0)?;
        let part = |of: &BTreeMap<String, u64>| of.get(&container.name).copied().unwrap_or(0);
        let used = part(&usage.layers) + part(&usage.node.logs);
        over(used, limit.value()).then(|| {
            let limit = limit.canonical();
            format!(
                "Container {} exceeded its local ephemeral storage limit {limit:?}. ",
                container.name
            )
        })
    })
}

fn over(used: u64, limit: i64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| used > limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn usage(volumes: &[(&str, u64)], layers: &[(&str, u64)], logs: &[(&str, u64)]) -> Usage {
        let map = |all: &[(&str, u64)]| all.iter().map(|(n, b)| ((*n).to_owned(), *b)).collect();
        let node = DiskUsage { volumes: map(volumes), logs: map(logs), hosts: 0 };
        Usage { node, layers: map(layers) }
    }

    #[test]
    fn the_first_limit_that_is_exceeded_is_told_in_the_kubelets_words() {
        let pod = pod("  volumes:
  - {name: v, emptyDir: {sizeLimit: 1024Ki}}
  - {name: m, emptyDir: {medium: Memory}}
  - {name: free, emptyDir: {}}
  containers:
  - {name: a, image: i, resources: {limits: {ephemeral-storage: 2Mi}}}
  - {name: b, image: i, resources: {limits: {ephemeral-storage: 4Mi}}}
");
        const MIB: u64 = 1 << 20;
        let none: &[(&str, u64)] = &[];
        for (found, want) in [
            (usage(&[("v", MIB)], none, none), None),
            (
                usage(&[("v", MIB + 1)], none, none),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
            ),
            (usage(&[("m", 9 * MIB), ("free", 5 * MIB)], &[("b", MIB)], none), None),
            (
                usage(&[("free", 5 * MIB)], &[("b", MIB)], &[("b", 1)]),
                Some(
                    "Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. ",
                ),
            ),
            (usage(none, &[("a", MIB)], &[("a", MIB)]), None),
            (
                usage(none, &[("a", MIB)], &[("a", MIB + 1)]),
                Some("Container a exceeded its local ephemeral storage limit \"2Mi\". "),
            ),
        ] {
            assert_eq!(exceeded(&pod, &found).as_deref(), want, "{found:?}");
        }
    }

    #[test]
    fn only_a_pod_with_limits_is_measured() {
        for (spec, want) in [
            (
                "  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]\n  containers: [{name: a, image: i}]\n",
                true,
            ),
            (
                "  containers: [{name: a, image: i, resources: {limits: {ephemeral-storage: 1Mi}}}]\n",
                true,
            ),
            ("  volumes: [{name: v, emptyDir: {}}]\n  containers: [{name: a, image: i}]\n", false),
        ] {
            assert_eq!(is_limited(&pod(spec)), want, "{spec}");
        }
    }
}
