//! The engine in figures.

use crate::id::Owner;
use crate::phase::{ContainerPhase, PodPhase};
use crate::table::Shared;
use std::collections::BTreeMap;

/// What there is, and what has happened since the engine was opened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Pods by where they stand.
    pub pods: BTreeMap<&'static str, usize>,
    /// Containers by where they stand.
    pub containers: BTreeMap<&'static str, usize>,
    /// Shims that answer.
    pub shims: usize,
    /// Shims that were found to be gone, though their pod was not stopped.
    pub shims_lost: u64,
    /// Events that subscribers were too slow for.
    pub events_lost: u64,
    /// What the opening met, by what it is: see [`crate::Recovery`].
    pub recovered: BTreeMap<&'static str, usize>,
}

pub(crate) fn count(engine: &Shared, owner: &Owner) -> Counts {
    use {ContainerPhase as C, PodPhase as P};
    // Also those that there are none of: a series that comes and goes is hard to sum up.
    let mut pods = BTreeMap::from(
        [P::Making, P::Ready, P::Ending, P::Stopped, P::Removing].map(|p| (of_pod(p), 0)),
    );
    let mut containers = BTreeMap::from(
        [C::Making, C::Created, C::Running, C::Exited, C::Removing].map(|c| (of_container(c), 0)),
    );
    let mut shims = 0;
    for pod in engine.table.pods(owner) {
        *pods.entry(of_pod(pod.record().phase)).or_default() += 1;
        shims += usize::from(pod.shim().is_some());
    }
    for (_, container) in engine.table.containers(owner) {
        *containers.entry(of_container(container.record().phase)).or_default() += 1;
    }
    Counts {
        pods,
        containers,
        shims,
        shims_lost: engine.counters.shims_lost(),
        events_lost: engine.events.lost(),
        recovered: engine.counters.recovered(),
    }
}

fn of_pod(phase: PodPhase) -> &'static str {
    match phase {
        PodPhase::Making => "making",
        PodPhase::Ready => "ready",
        PodPhase::Ending => "ending",
        PodPhase::Stopped => "stopped",
        PodPhase::Removing => "removing",
    }
}

fn of_container(phase: ContainerPhase) -> &'static str {
    match phase {
        ContainerPhase::Making => "making",
        ContainerPhase::Created => "created",
        ContainerPhase::Running => "running",
        ContainerPhase::Exited => "exited",
        ContainerPhase::Removing => "removing",
    }
}
