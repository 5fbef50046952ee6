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

impl Resources {
    /// Takes what `change` speaks of. The score of a process is set when it is made: what runs keeps
    /// its own.
    pub(crate) fn change(&mut self, change: Resources) {
        for (old, new) in [
            (&mut self.cpu_period, change.cpu_period),
            (&mut self.cpu_quota, change.cpu_quota),
            (&mut self.cpu_shares, change.cpu_shares),
            (&mut self.memory_limit, change.memory_limit),
            (&mut self.memory_swap_limit, change.memory_swap_limit),
        ] {
            *old = if new == 0 { *old } else { new };
        }
        for (old, new) in [
            (&mut self.cpuset_cpus, change.cpuset_cpus),
            (&mut self.cpuset_mems, change.cpuset_mems),
        ] {
            if !new.is_empty() {
                *old = new;
            }
        }
        for page in change.hugepages {
            self.hugepages.retain(|old| old.page_size != page.page_size);
            self.hugepages.push(page);
        }
        self.unified.extend(change.unified);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_limits_takes_what_it_speaks_of_and_leaves_the_rest() {
        let page = |page_size: &str, limit| HugepageLimit { page_size: page_size.into(), limit };
        let file = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut limits = Resources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit: 1 << 20,
            oom_score_adj: 5,
            cpuset_cpus: "0".into(),
            hugepages: vec![page("2MB", 1), page("1GB", 2)],
            unified: [file("memory.high", "1"), file("memory.low", "2")].into(),
            ..Resources::default()
        };
        let change = Resources {
            cpu_quota: -1,
            memory_swap_limit: 3 << 20,
            oom_score_adj: 900,
            cpuset_mems: "0".into(),
            hugepages: vec![page("2MB", 7)],
            unified: [file("memory.high", "9")].into(),
            ..Resources::default()
        };
        limits.change(change);
        let after = Resources {
            cpu_period: 100_000,
            cpu_quota: -1,
            memory_limit: 1 << 20,
            memory_swap_limit: 3 << 20,
            oom_score_adj: 5,
            cpuset_cpus: "0".into(),
            cpuset_mems: "0".into(),
            hugepages: vec![page("1GB", 2), page("2MB", 7)],
            unified: [file("memory.high", "9"), file("memory.low", "2")].into(),
            ..Resources::default()
        };
        assert_eq!(limits, after);
    }
}
