//! Limits of a container.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `LinuxContainerResources`; 0 and empty mean unchanged or unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CFS period, microseconds.
    pub cpu_period: i64,
    /// CFS quota, microseconds; −1: none.
    pub cpu_quota: i64,
    /// CPU shares, relative (v1 scale).
    pub cpu_shares: i64,
    /// Bytes.
    pub memory_limit: i64,
    /// Memory and swap together, bytes; −1: none.
    pub memory_swap_limit: i64,
    /// −1000 to 1000.
    pub oom_score_adj: i64,
    /// CPU list.
    pub cpuset_cpus: String,
    /// Memory node list.
    pub cpuset_mems: String,
    /// Limits of huge pages.
    pub hugepages: Vec<HugepageLimit>,
    /// Files of cgroup v2 and their values.
    pub unified: BTreeMap<String, String>,
}

/// A limit of one huge page size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugepageLimit {
    /// As the kernel's file names spell it: `2MB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}
