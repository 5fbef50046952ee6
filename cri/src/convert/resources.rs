//! Messages about limits.

use rrun_cri_api::v1;
use rrun_engine::model::{HugepageLimit, Resources};
use rrun_engine::{Error, Result};

/// What is to change, from the wire.
///
/// # Errors
/// `Invalid`, with the name of a field that asks for what there is not.
pub fn changed_resources(wire: v1::UpdateContainerResourcesRequest) -> Result<Resources> {
    super::refuse_windows(wire.windows.as_ref())?;
    wire.linux.map(resources).ok_or_else(|| Error::invalid("linux is missing"))
}

/// From the wire.
pub fn resources(wire: v1::LinuxContainerResources) -> Resources {
    let hugepage = |l: v1::HugepageLimit| HugepageLimit { page_size: l.page_size, limit: l.limit };
    Resources {
        cpu_period: wire.cpu_period,
        cpu_quota: wire.cpu_quota,
        cpu_shares: wire.cpu_shares,
        memory_limit: wire.memory_limit_in_bytes,
        memory_swap_limit: wire.memory_swap_limit_in_bytes,
        oom_score_adj: wire.oom_score_adj,
        cpuset_cpus: wire.cpuset_cpus,
        cpuset_mems: wire.cpuset_mems,
        hugepages: wire.hugepage_limits.into_iter().map(hugepage).collect(),
        unified: wire.unified.into_iter().collect(),
    }
}

/// To the wire.
pub fn wire(resources: &Resources) -> v1::LinuxContainerResources {
    let hugepage =
        |l: &HugepageLimit| v1::HugepageLimit { page_size: l.page_size.clone(), limit: l.limit };
    v1::LinuxContainerResources {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit_in_bytes: resources.memory_limit,
        memory_swap_limit_in_bytes: resources.memory_swap_limit,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: resources.hugepages.iter().map(hugepage).collect(),
        unified: resources.unified.clone().into_iter().collect(),
    }
}
