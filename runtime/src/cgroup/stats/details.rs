//! What metrics tell of a group beside its [`Stats`](super::Stats).

use super::{Files, Source, Text, parse};
use crate::Result;

/// Figures of one container's groups, beside its stats; `None` where the host does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Where its CPU time was spent.
    pub cpu: Option<CpuTimes>,
    /// Memory.
    pub memory: Option<MemoryDetails>,
    /// How many tasks it may have; `None` is unlimited.
    pub pids_limit: Option<u64>,
    /// Huge pages, by their size.
    pub huge_pages: Vec<HugePages>,
}

/// CPU time, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In programs.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
}

/// Memory figures, in bytes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryDetails {
    /// Page cache.
    pub cache: u64,
    /// File pages that are mapped.
    pub mapped_file: u64,
    /// What the kernel has taken for the group.
    pub kernel: Option<u64>,
    /// The most that was ever charged (v2: since kernel 5.19).
    pub peak: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: Option<u64>,
    /// Page faults of the group itself; v2 counts those below it as well.
    pub own_page_faults: u64,
    /// Major ones of them.
    pub own_major_page_faults: u64,
}

/// Huge pages of one size, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// As the kernel's file names spell it: `2MB`.
    pub size: String,
    /// In use.
    pub usage: u64,
    /// The most that was ever in use; v2 does not tell.
    pub peak: Option<u64>,
}

impl Files {
    /// Reads what [`Files::read`] does not.
    ///
    /// # Errors
    /// `NotFound` when the groups are gone.
    pub fn read_details(&self) -> Result<Details> {
        let mut text = Text::default();
        let mut details = Details::default();
        if let Some(cpu) = &self.cpu {
            details.cpu = cpu.times(&mut text)?;
        }
        if let Some(memory) = &self.memory {
            details.memory = Some(memory.details(&mut text)?);
        }
        if let Some(pids) = &self.pids {
            // The group at the top of a hierarchy has none.
            let limit = text.read_existing(pids, "pids.max")?;
            details.pids_limit = limit.and_then(parse::limit);
        }
        for (source, size) in &self.huge_pages {
            details.huge_pages.push(source.huge_pages(&mut text, size)?);
        }
        Ok(details)
    }
}

impl Source {
    fn times(&self, text: &mut Text) -> Result<Option<CpuTimes>> {
        if self.unified {
            let text = text.read(&self.dir, "cpu.stat")?;
            let nanoseconds = |name| parse::field(text, name).saturating_mul(1000);
            let (user_ns, system_ns) = (nanoseconds("user_usec"), nanoseconds("system_usec"));
            return Ok(Some(CpuTimes { user_ns, system_ns }));
        }
        let mut number = |file| -> Result<Option<u64>> {
            Ok(text.read_existing(&self.dir, file)?.map(parse::number))
        };
        let times = number("cpuacct.usage_user")?.zip(number("cpuacct.usage_sys")?);
        Ok(times.map(|(user_ns, system_ns)| CpuTimes { user_ns, system_ns }))
    }

    fn details(&self, text: &mut Text) -> Result<MemoryDetails> {
        let stat = text.read(&self.dir, "memory.stat")?;
        let field = |v1: &str, v2: &str| parse::field(stat, if self.unified { v2 } else { v1 });
        let mut details = MemoryDetails {
            cache: field("total_cache", "file"),
            mapped_file: field("total_mapped_file", "file_mapped"),
            own_page_faults: parse::field(stat, "pgfault"),
            own_major_page_faults: parse::field(stat, "pgmajfault"),
            ..MemoryDetails::default()
        };
        if self.unified {
            details.kernel = Some(kernel(stat));
        }
        let mut number = |file: &str| -> Result<Option<u64>> {
            Ok(text.read_existing(&self.dir, file)?.map(parse::number))
        };
        if self.unified {
            details.peak = number("memory.peak")?;
            let events = text.read_existing(&self.dir, "memory.events")?;
            details.limit_hits = events.map(|events| parse::field(events, "max"));
        } else {
            details.kernel = number("memory.kmem.usage_in_bytes")?;
            details.peak = number("memory.max_usage_in_bytes")?;
            details.limit_hits = number("memory.failcnt")?;
        }
        Ok(details)
    }

    fn huge_pages(&self, text: &mut Text, size: &str) -> Result<HugePages> {
        let mut number = |what: &str| -> Result<Option<u64>> {
            let text = text.read_existing(&self.dir, &format!("hugetlb.{size}.{what}"))?;
            Ok(text.map(parse::number))
        };
        let (usage, peak) = match self.unified {
            true => (number("current")?, None),
            false => (number("usage_in_bytes")?, number("max_usage_in_bytes")?),
        };
        Ok(HugePages { size: size.to_owned(), usage: usage.unwrap_or(0), peak })
    }
}

/// What the kernel has for itself, by `memory.stat`: before 5.18 the parts of it are told alone.
fn kernel(stat: &str) -> u64 {
    match parse::field(stat, "kernel") {
        0 => {
            let parts = ["kernel_stack", "pagetables", "percpu", "sock", "slab"];
            parts.iter().map(|part| parse::field(stat, part)).sum()
        }
        all => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::stats::Files;
    use crate::plan::{CgroupDir, Cgroups};
    use std::path::Path;

    fn sample(version: &str) -> Details {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cgroup/stats/samples");
        let path = samples.join(version);
        let dirs = vec![CgroupDir { path, unified: version != "v1", inherit_cpuset: false }];
        Files::find(&Cgroups { dirs, ..Cgroups::default() }).read_details().unwrap()
    }

    fn expected() -> Details {
        Details {
            cpu: Some(CpuTimes { user_ns: 4_020_011_000, system_ns: 1_291_031_000 }),
            memory: Some(MemoryDetails {
                cache: 4_603_904,
                mapped_file: 1_048_576,
                kernel: Some(344_064),
                peak: Some(12_582_912),
                limit_hits: Some(3),
                own_page_faults: 2213,
                own_major_page_faults: 9,
            }),
            pids_limit: Some(128),
            huge_pages: vec![HugePages { size: "2MB".to_owned(), usage: 4_194_304, peak: None }],
        }
    }

    #[test]
    fn the_details_of_a_v2_group_are_read() {
        assert_eq!(sample("v2"), expected());
    }

    #[test]
    fn the_details_of_a_v1_group_are_read_with_its_own_faults_beside_the_totals() {
        let own = MemoryDetails {
            own_page_faults: 12,
            own_major_page_faults: 0,
            ..expected().memory.unwrap()
        };
        let pages = HugePages { size: "2MB".to_owned(), usage: 4_194_304, peak: Some(6_291_456) };
        let cpu = CpuTimes { user_ns: 4_020_011_345, system_ns: 1_291_030_778 };
        let v1 =
            Details { cpu: Some(cpu), memory: Some(own), huge_pages: vec![pages], ..expected() };
        assert_eq!(sample("v1"), v1);
    }

    #[test]
    fn what_a_host_does_not_count_has_no_details() {
        let cpu = Some(CpuTimes { user_ns: 5000, system_ns: 2000 });
        assert_eq!(sample("bare"), Details { cpu, ..Details::default() });
    }

    #[test]
    fn before_5_18_the_kernels_memory_is_the_sum_of_its_parts() {
        assert_eq!(kernel("kernel_stack 1\npagetables 2\npercpu 4\nsock 8\nslab 16\n"), 31);
        assert_eq!(kernel("kernel 40\nkernel_stack 1\n"), 40);
    }
}
