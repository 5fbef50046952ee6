//! Figures of containers at a moment, and what was used between two moments.

use crate::context::Context;
use crate::runtime::reach;
use anyhow::{Context as _, Result};
use rrun_cri_api::v1;
use rrun_pod::probe::{ProbeKind, Verdict};
use rrun_pod::supervise::Entry;
use rrun_pod::translate::labels;
use std::time::Duration;

/// What a container uses.
#[derive(Default)]
pub struct Use {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// Billionths of a core; none of one that was not there for the whole time.
    pub cpu: Option<u64>,
    /// Bytes: the working set, as the kubelet has it.
    pub memory: u64,
    pub stats: v1::ContainerStats,
    pub restarts: u32,
    /// Of those probes that it has.
    pub probes: Vec<(ProbeKind, Verdict)>,
}

/// The figures of pods.
pub struct Sample {
    pub answered: Vec<(Entry, Vec<v1::ContainerStats>)>,
    /// Pods of which there are none, and why.
    pub failed: Vec<(String, anyhow::Error)>,
}

impl Sample {
    /// Asks all runtimes at once. One that does not answer keeps the others from nothing.
    pub async fn take(context: &Context, pods: Vec<Entry>, limit: Duration) -> Sample {
        let ask = async |pod: Entry| {
            let done = tokio::time::timeout(limit, look(context, &pod)).await;
            let late = || format!("its runtime does not answer in {limit:?}");
            let stats = done.with_context(late).flatten();
            (pod, stats)
        };
        let mut sample = Sample { answered: Vec::new(), failed: Vec::new() };
        for (pod, stats) in futures::future::join_all(pods.into_iter().map(ask)).await {
            match stats {
                Ok(stats) => sample.answered.push((pod, stats)),
                Err(error) => sample.failed.push((pod.full_name(), error)),
            }
        }
        sample
    }
}

async fn look(context: &Context, pod: &Entry) -> Result<Vec<v1::ContainerStats>> {
    let of = reach(context, pod).await?;
    let label_selector = [(labels::POD_UID.to_owned(), pod.uid.to_string())].into();
    let filter = v1::ContainerStatsFilter { label_selector, ..Default::default() };
    let request = v1::ListContainerStatsRequest { filter: Some(filter) };
    Ok(of.cri.list_container_stats(request).await?.stats)
}

/// What was used between two samples.
pub fn uses(before: &Sample, after: Sample) -> Vec<Use> {
    let mut uses = Vec::new();
    for (pod, stats) in after.answered {
        let former = before.answered.iter().find(|(other, _)| other.uid == pod.uid);
        let former = former.map_or(&[][..], |(_, stats)| stats);
        uses.extend(stats.into_iter().filter_map(|one| used(&pod, former, one)));
    }
    uses
}

/// What a container of the pod has used since `before`; none of one that does not run.
fn used(pod: &Entry, before: &[v1::ContainerStats], stats: v1::ContainerStats) -> Option<Use> {
    let attributes = stats.attributes.as_ref()?;
    let container = attributes.labels.get(labels::CONTAINER_NAME)?.clone();
    let memory = stats.memory.as_ref()?.working_set_bytes.as_ref()?.value;
    let id = |one: &v1::ContainerStats| one.attributes.as_ref().map(|of| of.id.clone());
    let former = before.iter().find(|one| id(one).as_ref() == Some(&attributes.id));
    let cpu = former.and_then(|former| rate(time_used(former)?, time_used(&stats)?));
    let status = pod.state.as_ref().and_then(|state| state.status.container(&container));
    let restarts = status.map_or(0, |status| status.restart_count);
    let probes = probes(pod, &container, &attributes.id);
    let (namespace, pod) = (pod.namespace.clone(), pod.name.clone());
    Some(Use { namespace, pod, container, cpu, memory, stats, restarts, probes })
}

/// Verdicts on a run by its probes, in the order in which they count.
fn probes(pod: &Entry, container: &str, run: &str) -> Vec<(ProbeKind, Verdict)> {
    let Ok(defined) = pod.pod() else { return Vec::new() };
    let Some((_, found)) = defined.spec.find(container) else { return Vec::new() };
    let known: Vec<_> = pod.state.iter().flat_map(|state| state.verdicts(run)).collect();
    let all = [
        (ProbeKind::Startup, found.startup.is_some()),
        (ProbeKind::Liveness, found.liveness.is_some()),
        (ProbeKind::Readiness, found.readiness.is_some()),
    ];
    let verdict = |kind| known.iter().find(|(of, _)| *of == kind).map(|(_, verdict)| *verdict);
    let has = all.into_iter().filter(|(_, has)| *has);
    has.map(|(kind, _)| (kind, verdict(kind).unwrap_or(Verdict::Unknown))).collect()
}

/// When it was measured and how much of the processors was used by then, in nanoseconds.
pub fn time_used(stats: &v1::ContainerStats) -> Option<(i64, u64)> {
    let cpu = stats.cpu.as_ref()?;
    Some((cpu.timestamp, cpu.usage_core_nano_seconds.as_ref()?.value))
}

/// Billionths of a core between two measurements.
fn rate((from, used): (i64, u64), (to, by_then): (i64, u64)) -> Option<u64> {
    let time = u128::try_from(to.checked_sub(from)?).ok().filter(|time| *time > 0)?;
    let used = u128::from(by_then.checked_sub(used)?);
    u64::try_from(used * 1_000_000_000 / time).ok()
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_of_the_time_between_and_none_where_the_clock_or_the_counter_went_back() {
        assert_eq!(rate((0, 0), (2_000_000_000, 1_000_000_000)), Some(500_000_000));
        for (from, to) in [((5, 0), (5, 1)), ((9, 0), (5, 1)), ((0, 9), (5, 1))] {
            assert_eq!(rate(from, to), None, "{from:?} {to:?}");
        }
    }
}
