//! What containers and pods use: figures of control groups and interfaces. Writable layers are
//! measured by [`crate::layers`].

use crate::id::Owner;
use crate::measured::Measured;
use crate::phase::{ContainerPhase, PodPhase};
use crate::stats::{ContainerStats, InterfaceUsage, PodStats, Usage};
use crate::status::{ContainerFilter, PodFilter};
use crate::table::{Container, Pod, Shared};
use crate::view;
use rrun_sys::time;
use std::sync::Arc;

/// What has a group, and a place for the last figures of it.
trait Metered {
    fn cgroup(&self) -> String;
    fn usage(&self) -> &Measured<Usage>;
}

impl Metered for Arc<Container> {
    fn cgroup(&self) -> String {
        self.record().cgroup.clone()
    }

    fn usage(&self) -> &Measured<Usage> {
        &self.usage
    }
}

impl Metered for Arc<Pod> {
    fn cgroup(&self) -> String {
        self.record().cgroup.clone()
    }

    fn usage(&self) -> &Measured<Usage> {
        &self.usage
    }
}

type Row = dyn Metered + Send + Sync;

/// Reads the groups whose figures are old, all at one go.
async fn refresh(engine: &Shared, rows: &[&Row]) {
    let now = time::now();
    let old: Vec<_> = rows.iter().filter(|row| !row.usage().is_fresh(now)).collect();
    if old.is_empty() {
        return;
    }
    let groups = old.iter().map(|row| row.cgroup()).collect();
    let figures = engine.ports.host.usage(groups).await;
    let now = time::now();
    for (row, figures) in old.into_iter().zip(figures) {
        row.usage().read(now, figures);
    }
}

/// The same for the interfaces of pods that have a network of their own.
async fn refresh_interfaces(engine: &Shared, pods: &[Arc<Pod>]) {
    let now = time::now();
    let old = pods.iter().filter(|pod| !pod.interfaces.is_fresh(now));
    read_interfaces(engine, &old.cloned().collect::<Vec<_>>()).await;
}

/// Reads the interfaces of pods that have a network of their own.
pub(crate) async fn read_interfaces(engine: &Shared, pods: &[Arc<Pod>]) {
    let (old, paths): (Vec<_>, Vec<_>) =
        pods.iter().filter_map(|pod| Some((pod, pod.record().netns.clone()?))).unzip();
    if old.is_empty() {
        return;
    }
    let now = time::now();
    let all = engine.ports.host.interfaces(paths).await;
    for (pod, interfaces) in old.into_iter().zip(all) {
        pod.interfaces.put(now, Some(interfaces));
    }
}

fn counts(container: &Container) -> bool {
    // A container that has ended counts nothing any more.
    matches!(container.record().phase, ContainerPhase::Created | ContainerPhase::Running)
}

fn container_stats(container: &Arc<Container>) -> ContainerStats {
    ContainerStats {
        id: container.id.clone(),
        config: Arc::clone(&container.config),
        usage: counts(container).then(|| container.usage.value()).flatten(),
        writable_layer: container.layer(),
    }
}

pub(crate) async fn container(engine: &Shared, container: &Arc<Container>) -> ContainerStats {
    if counts(container) {
        refresh(engine, &[container]).await;
    }
    container_stats(container)
}

pub(crate) async fn containers(
    engine: &Shared,
    owner: &Owner,
    filter: &ContainerFilter,
) -> Vec<ContainerStats> {
    let mut filter = filter.clone();
    filter.phase = Some(ContainerPhase::Running);
    let rows = engine.table.containers(owner).into_iter().map(|(_, container)| container);
    let rows: Vec<_> = rows.filter(|row| view::passes(&row.record(), &filter)).collect();
    refresh(engine, &rows.iter().map(|row| row as &Row).collect::<Vec<_>>()).await;
    rows.iter().map(container_stats).collect()
}

pub(crate) async fn pod(engine: &Shared, pod: &Arc<Pod>) -> PodStats {
    let all = measure(engine, vec![Arc::clone(pod)]).await;
    // One for each.
    all.into_iter().next().unwrap_or_else(|| pod_stats(pod, &[]))
}

pub(crate) async fn pods(engine: &Shared, owner: &Owner, filter: &PodFilter) -> Vec<PodStats> {
    let mut filter = filter.clone();
    filter.ready = Some(true);
    let rows = engine.table.pods(owner).into_iter();
    measure(engine, rows.filter(|row| view::pod_item(row, &filter).is_some()).collect()).await
}

async fn measure(engine: &Shared, pods: Vec<Arc<Pod>>) -> Vec<PodStats> {
    let running = |pod: &Arc<Pod>| {
        let mut rows = engine.table.containers_of(&pod.id);
        rows.retain(|row| row.record().phase == ContainerPhase::Running);
        rows
    };
    let pods: Vec<_> = pods.into_iter().map(|pod| (running(&pod), pod)).collect();
    let ready: Vec<_> = pods.iter().map(|(_, pod)| pod).filter(|pod| is_ready(pod)).collect();
    let containers = pods.iter().flat_map(|(rows, _)| rows).map(|row| row as &Row);
    let rows: Vec<&Row> = ready.iter().map(|pod| *pod as &Row).chain(containers).collect();
    refresh(engine, &rows).await;
    refresh_interfaces(engine, &ready.into_iter().cloned().collect::<Vec<_>>()).await;
    pods.iter().map(|(containers, pod)| pod_stats(pod, containers)).collect()
}

fn is_ready(pod: &Pod) -> bool {
    pod.record().phase == PodPhase::Ready
}

fn pod_stats(pod: &Arc<Pod>, containers: &[Arc<Container>]) -> PodStats {
    let ready = is_ready(pod);
    let none = || Arc::new(Vec::<InterfaceUsage>::new());
    PodStats {
        id: pod.id.clone(),
        config: Arc::clone(&pod.config),
        usage: ready.then(|| pod.usage.value()).flatten(),
        interfaces: ready.then(|| pod.interfaces.value()).flatten().unwrap_or_else(none),
        containers: containers.iter().map(container_stats).collect(),
    }
}
