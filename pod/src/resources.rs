//! Requests and limits → what the kernel is told.
//!
//! The numbers are the kubelet's: `cm/helpers_linux.go`, `qos/policy.go`, and the resource helper
//! of component-helpers for sums over init containers and sidecars.

use std::collections::BTreeMap;

use crate::model::{Container, ContainerKind, Pod, PodSpec, ResourceList};
use crate::quantity::Quantity;

/// Microseconds of one CFS period.
pub const CPU_PERIOD: i64 = 100_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const MIN_QUOTA: i64 = 1_000;

/// A pod's quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Qos {
    /// Every container has limits equal to its requests for CPU and memory.
    Guaranteed,
    /// Something is asked for.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl Qos {
    /// As `status.qosClass` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// The class of a pod; pod-level resources decide if there are any.
pub fn qos(pod: &Pod) -> Qos {
    let own = &pod.spec.resources;
    let set = |l: &ResourceList| l.cpu.is_some() || l.memory.is_some();
    let lists: Vec<(&ResourceList, &ResourceList)> = if set(&own.requests) || set(&own.limits) {
        vec![(&own.requests, &own.limits)]
    } else {
        pod.spec.all().map(|(_, c)| (&c.resources.requests, &c.resources.limits)).collect()
    };
    let positive = |q: Option<Quantity>| q.filter(|q| *q > Quantity::ZERO);
    let any = lists.iter().any(|(r, l)| {
        [r.cpu, r.memory, l.cpu, l.memory].into_iter().any(|q| positive(q).is_some())
    });
    let full = lists.iter().all(|(r, l)| {
        positive(l.cpu).is_some()
            && positive(l.memory).is_some()
            && r.cpu == l.cpu
            && r.memory == l.memory
    });
    match (any, full) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// CPU shares for a request in thousandths of a core.
pub fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1_024) / 1_000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CFS quota in microseconds for a limit in thousandths of a core; 0 (no limit) for 0.
pub fn quota(milli: i64) -> i64 {
    if milli == 0 { 0 } else { (milli.saturating_mul(CPU_PERIOD) / 1_000).max(MIN_QUOTA) }
}

/// What one container's cgroup is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLimits {
    /// CPU shares.
    pub shares: i64,
    /// CFS quota in microseconds a period; 0 for none.
    pub quota: i64,
    /// Bytes; 0 for none.
    pub memory: i64,
    /// −1000 to 1000.
    pub oom_score_adj: i64,
}

/// The limits of one container on a node with `memory_capacity` bytes.
pub fn container(pod: &Pod, container: &Container, memory_capacity: i64) -> ContainerLimits {
    let limits = &container.resources.limits;
    let above = &pod.spec.resources.limits;
    let milli = |q: Option<Quantity>| q.map_or(0, Quantity::milli);
    ContainerLimits {
        shares: shares(milli(container.resources.requests.cpu.or(limits.cpu).or(above.cpu))),
        quota: quota(milli(limits.cpu.or(above.cpu))),
        memory: limits.memory.or(above.memory).map_or(0, Quantity::value),
        oom_score_adj: oom_score_adj(pod, container, memory_capacity),
    }
}

/// How likely the kernel picks this container when memory runs out.
fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    match qos(pod) {
        Qos::Guaranteed => return -997,
        Qos::BestEffort => return 1_000,
        Qos::Burstable => {}
    }
    let request = |c: &Container| c.resources.requests.memory.map_or(0, Quantity::value);
    let capacity = memory_capacity.max(1);
    // What the pod asks for beyond its containers is shared out among them.
    let extra = pod.spec.resources.requests.memory.map_or(0, |whole| {
        let given = pod_requests(pod, false).memory.map_or(0, Quantity::value);
        let count = (pod.spec.containers.len()
            + pod.spec.init_containers.iter().filter(|c| c.is_sidecar()).count())
            as i64;
        (whole.value() - given).max(0) / count.max(1)
    });
    let score = |bytes: i64| {
        let scaled = i128::from(bytes) * 1_000 / i128::from(capacity);
        1_000 - i64::try_from(scaled).unwrap_or(i64::MAX).min(2_000)
    };
    let mut adjust = score(request(container) + extra);
    let is_sidecar =
        container.is_sidecar() && pod.spec.init_containers.iter().any(|c| c.name == container.name);
    if is_sidecar {
        // A sidecar outlives the smallest regular container.
        let smallest = pod.spec.containers.iter().map(request).min().unwrap_or(0);
        adjust = adjust.min(score(smallest + extra));
    }
    match adjust {
        ..3 => 3,
        1_000 => 999,
        other => other,
    }
}

/// What the pod's own cgroup is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PodCgroup {
    /// CPU shares.
    pub shares: i64,
    /// CFS quota in microseconds a period, if every container has a CPU limit.
    pub quota: Option<i64>,
    /// Bytes, if every container has a memory limit.
    pub memory: Option<i64>,
    /// Bytes by page size, as the hugetlb controller names it (`2MB`): every size that the node has.
    pub hugepages: BTreeMap<String, u64>,
}

/// The limits of a pod's cgroup on a node with pages of these sizes.
pub fn pod_cgroup(pod: &Pod, page_sizes: &[String]) -> PodCgroup {
    let requests = pod_requests(pod, true);
    let limits = pod_limits(pod);
    let pages = page_sizes.iter().map(|size| (size.clone(), hugepages(&limits, size)));
    let hugepages = pages.collect();
    if qos(pod) == Qos::BestEffort {
        return PodCgroup { shares: MIN_SHARES, hugepages, ..PodCgroup::default() };
    }
    let above = &pod.spec.resources.limits;
    let positive = |q: Option<Quantity>| q.is_some_and(|q| q > Quantity::ZERO);
    let all = |pick: fn(&ResourceList) -> Option<Quantity>| {
        positive(pick(above)) || pod.spec.all().all(|(_, c)| positive(pick(&c.resources.limits)))
    };
    PodCgroup {
        shares: shares(requests.cpu.map_or(0, Quantity::milli)),
        quota: all(|l| l.cpu).then(|| quota(limits.cpu.map_or(0, Quantity::milli))),
        memory: all(|l| l.memory).then(|| limits.memory.map_or(0, Quantity::value)),
        hugepages,
    }
}

/// Bytes of huge pages of a size (`2MB`) in a list of limits; none where it says nothing.
pub fn hugepages(limits: &ResourceList, size: &str) -> u64 {
    let amount = limits.hugepages.iter().find(|(name, _)| page_bytes(name) == page_bytes(size));
    amount.map_or(0, |(_, amount)| u64::try_from(amount.value()).unwrap_or(0))
}

/// `2Mi` (a resource's name) and `2MB` (the kernel's) are the same size.
fn page_bytes(name: &str) -> Option<i64> {
    let binary = name.trim_end_matches('B').trim_end_matches('i');
    Quantity::parse(&format!("{binary}i")).ok().map(|q| q.value())
}

/// Fills the pod's own requests, where it has limits of its own: from what its containers ask for
/// together, else from the pod's limit (`defaultPodRequests` of the API server).
pub fn default_pod_level(spec: &mut PodSpec) {
    let own = &spec.resources;
    if own.limits == ResourceList::default() {
        return;
    }
    let asked = sum(spec, |c| &c.resources.requests);
    let cpu = own.requests.cpu.or(asked.cpu).or(own.limits.cpu);
    let memory = own.requests.memory.or(asked.memory).or(own.limits.memory);
    (spec.resources.requests.cpu, spec.resources.requests.memory) = (cpu, memory);
}

/// The sum of the pod's limits, its own first.
pub fn pod_limits(pod: &Pod) -> ResourceList {
    overlay(sum(&pod.spec, |c| &c.resources.limits), &pod.spec.resources.limits)
}

/// The sum of the pod's requests; with `own`, pod-level ones win.
pub fn pod_requests(pod: &Pod, own: bool) -> ResourceList {
    let total = sum(&pod.spec, |c| &c.resources.requests);
    if own { overlay(total, &pod.spec.resources.requests) } else { total }
}

fn overlay(mut base: ResourceList, own: &ResourceList) -> ResourceList {
    base.cpu = own.cpu.or(base.cpu);
    base.memory = own.memory.or(base.memory);
    for (size, amount) in &own.hugepages {
        base.hugepages.insert(size.clone(), *amount);
    }
    base
}

/// Regular containers and sidecars together, or the largest moment of initialisation: one init
/// container beside the sidecars that started before it.
fn sum(spec: &PodSpec, list: impl Fn(&Container) -> &ResourceList) -> ResourceList {
    let mut running = ResourceList::default();
    let mut peak = ResourceList::default();
    for (kind, container) in spec.all() {
        match kind {
            ContainerKind::Init => {
                let moment = merge(&running, list(container), Quantity::plus);
                peak = merge(&peak, &moment, Ord::max);
            }
            ContainerKind::Sidecar | ContainerKind::Regular => {
                running = merge(&running, list(container), Quantity::plus);
            }
        }
    }
    merge(&running, &peak, Ord::max)
}

fn merge(
    a: &ResourceList,
    b: &ResourceList,
    join: impl Fn(Quantity, Quantity) -> Quantity,
) -> ResourceList {
    let both = |x: Option<Quantity>, y: Option<Quantity>| match (x, y) {
        (Some(x), Some(y)) => Some(join(x, y)),
        (x, y) => x.or(y),
    };
    let mut hugepages = a.hugepages.clone();
    for (size, amount) in &b.hugepages {
        let joined = both(hugepages.get(size).copied(), Some(*amount)).unwrap_or(*amount);
        hugepages.insert(size.clone(), joined);
    }
    ResourceList {
        cpu: both(a.cpu, b.cpu),
        memory: both(a.memory, b.memory),
        ephemeral_storage: both(a.ephemeral_storage, b.ephemeral_storage),
        hugepages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn with(resources: &[&str]) -> Pod {
        let containers: Vec<String> = resources
            .iter()
            .enumerate()
            .map(|(i, r)| format!("  - {{name: c{i}, image: i:1, resources: {r}}}\n"))
            .collect();
        pod(&format!("  containers:\n{}", containers.concat()))
    }

    #[test]
    fn the_class_follows_the_kubelets_rules() {
        for (resources, class) in [
            (vec!["{}"], Qos::BestEffort),
            (vec!["{limits: {cpu: 1, memory: 1Gi}}"], Qos::Guaranteed),
            (vec!["{limits: {cpu: 1, memory: 1Gi}}", "{}"], Qos::Burstable),
            (vec!["{requests: {cpu: 1}}"], Qos::Burstable),
            (vec!["{limits: {memory: 1Gi}}"], Qos::Burstable),
            (vec!["{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}"], Qos::Burstable),
            (vec!["{requests: {cpu: 0}}"], Qos::BestEffort),
        ] {
            assert_eq!(qos(&with(&resources)), class, "{resources:?}");
        }
    }

    #[test]
    fn shares_and_quota_keep_the_kernels_bounds() {
        assert_eq!(
            [shares(0), shares(1), shares(100), shares(1_000), shares(i64::MAX)],
            [2, 2, 102, 1_024, 262_144]
        );
        assert_eq!(
            [quota(0), quota(1), quota(10), quota(500), quota(2_000)],
            [0, 1_000, 1_000, 50_000, 200_000]
        );
    }

    #[test]
    fn the_oom_score_falls_with_the_request() {
        let capacity = 8 << 30;
        let score = |r: &str| {
            let pod = with(&[r]);
            container(&pod, &pod.spec.containers[0], capacity).oom_score_adj
        };
        assert_eq!(score("{}"), 1_000);
        assert_eq!(score("{limits: {cpu: 1, memory: 1Gi}}"), -997);
        assert_eq!(score("{requests: {cpu: 1}}"), 999);
        assert_eq!(score("{requests: {memory: 2Gi}}"), 750);
        assert_eq!(score("{requests: {memory: 64Gi}}"), 3);
    }

    #[test]
    fn a_pods_cgroup_holds_its_largest_moment() {
        let pod = pod("  initContainers:
  - {name: s, image: i:1, restartPolicy: Always, resources: {limits: {cpu: 100m, memory: 10Mi}}}
  - {name: i, image: i:1, resources: {limits: {cpu: 2, memory: 20Mi}}}
  containers:
  - {name: a, image: i:1, resources: {limits: {cpu: 500m, memory: 100Mi}}}
");
        let cgroup = pod_cgroup(&pod, &[]);
        assert_eq!(cgroup.quota, Some(210_000));
        assert_eq!(cgroup.memory, Some(110 << 20));
        assert_eq!(cgroup.shares, shares(2_100));
    }

    #[test]
    fn a_pods_requests_are_its_containers_where_they_ask_and_else_its_limits() {
        let own = |resources: &str, container: &str| {
            pod(&format!(
                "  resources: {resources}\n  containers: [{{name: a, image: i, resources: {container}}}]\n"
            ))
        };
        let limits = "{limits: {cpu: 2, memory: 2Gi}}";
        let asking = own(limits, "{requests: {cpu: 500m, memory: 1Gi}}");
        assert_eq!(asking.spec.resources.requests.cpu.unwrap().milli(), 500);
        assert_eq!(asking.spec.resources.requests.memory.unwrap().value(), 1 << 30);
        assert_eq!(qos(&asking), Qos::Burstable);
        let silent = own(limits, "{}");
        assert_eq!(silent.spec.resources.requests.cpu.unwrap().milli(), 2_000);
        assert_eq!(qos(&silent), Qos::Guaranteed);
        // A container that asks for nothing has the weight of the pod's limit.
        let found = container(&silent, &silent.spec.containers[0], 8 << 30);
        assert_eq!((found.shares, found.quota), (2_048, 200_000));
        let only_requests = own("{requests: {cpu: 1}}", "{}");
        assert_eq!(only_requests.spec.resources.requests.memory, None);
    }

    #[test]
    fn one_container_without_a_limit_frees_the_pod() {
        let pod = with(&["{limits: {cpu: 1, memory: 1Gi}}", "{limits: {memory: 1Gi}}"]);
        let cgroup = pod_cgroup(&pod, &[]);
        assert_eq!((cgroup.quota, cgroup.memory), (None, Some(2 << 30)));
    }
    #[test]
    fn a_pods_huge_pages_are_limited_for_every_size_of_the_node() {
        let sizes = ["2MB".to_owned(), "1GB".to_owned()];
        let limits = "{limits: {cpu: 1, memory: 1Gi, hugepages-2Mi: 4Mi}}";
        for (pod, two_mb) in [(with(&[limits, limits]), 8 << 20), (with(&["{}"]), 0)] {
            let found = pod_cgroup(&pod, &sizes).hugepages;
            assert_eq!(found, [("2MB".to_owned(), two_mb), ("1GB".to_owned(), 0)].into());
        }
    }
}
