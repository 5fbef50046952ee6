//! What a group has used.
//!
//! A daemon reads these for every container, every ten seconds or oftener: find the files once
//! ([`Files::find`]), and read what is told ([`Files::read_usage`]): seven short reads, and three
//! where there is pressure.

mod details;
mod parse;

pub use details::{CpuTimes, Details, HugePages, MemoryDetails};

use crate::plan::Cgroups;
use crate::{Context, Error, Kind, Result};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Figures of one container's groups; `None` where the host has no such controller or file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time used, nanoseconds.
    pub cpu_usage_ns: Option<u64>,
    /// How often the CPU quota was used up.
    pub throttling: Option<Throttling>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Swap (v1: only with swap accounting).
    pub swap: Option<Swap>,
    /// Tasks.
    pub pids: Option<u64>,
    /// What was read from and written to each block device, in the order of their numbers; only
    /// those that were used.
    pub devices: Option<Vec<DeviceIo>>,
    /// Pressure of cpu, memory and io (v2 and hybrid).
    pub pressure: Option<Pressures>,
}

/// How a group fared under its CPU quota: `Documentation/scheduler/sched-bwc.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which it wanted to run.
    pub periods: u64,
    /// Those of them in which it had to wait for the next.
    pub throttled_periods: u64,
    /// How long it waited in all, nanoseconds.
    pub throttled_ns: u64,
}

/// What a group did with one block device. v1 counts what passes its throttle, v2 everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Number of the device.
    pub major: u32,
    /// Number of the device.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Memory figures, in bytes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Everything charged, page cache included.
    pub usage: u64,
    /// Usage without inactive file pages: what the kubelet evicts by.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Major page faults.
    pub major_page_faults: u64,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
    /// Processes killed for want of memory, where that was read.
    pub oom_kills: Option<u64>,
}

/// Swap figures, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// Swap used.
    pub usage: u64,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Pressure stall information: `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressures {
    /// `cpu.pressure`
    pub cpu: Pressure,
    /// `memory.pressure`
    pub memory: Pressure,
    /// `io.pressure`
    pub io: Pressure,
}

/// One resource's pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some tasks were stalled.
    pub some: Stall,
    /// All tasks were stalled.
    pub full: Stall,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// Share of the last 10 seconds, hundredths of a percent.
    pub avg10: u32,
    /// Share of the last 60 seconds, hundredths of a percent.
    pub avg60: u32,
    /// Share of the last 300 seconds, hundredths of a percent.
    pub avg300: u32,
    /// Stalled in all, microseconds.
    pub total_us: u64,
}

/// Where the figures of a container's groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    cpu: Option<Source>,
    throttling: Option<Source>,
    devices: Option<Source>,
    memory: Option<Source>,
    pids: Option<PathBuf>,
    pressure: Option<PathBuf>,
    /// Sizes of huge pages that are counted, as file names spell them.
    huge_pages: Vec<(Source, String)>,
}

/// A group with a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    dir: PathBuf,
    unified: bool,
}

impl Files {
    /// Looks which of the groups has which controller. They must be there.
    pub fn find(groups: &Cgroups) -> Files {
        // v1 first: on a hybrid host that is where the controllers are.
        let mut dirs: Vec<_> = groups.dirs.iter().collect();
        dirs.sort_by_key(|dir| dir.unified);
        let source = |v1: &str, v2: &str| {
            let has = |path: &Path, unified| path.join(if unified { v2 } else { v1 }).exists();
            let found = dirs.iter().find(|dir| has(&dir.path, dir.unified))?;
            Some(Source { dir: found.path.clone(), unified: found.unified })
        };
        let unified = groups.dirs.iter().find(|dir| dir.unified).map(|dir| dir.path.clone());
        Files {
            cpu: source("cpuacct.usage", "cpu.stat"),
            throttling: source("cpu.stat", "cpu.stat"),
            devices: source(BLKIO_BYTES, "io.stat"),
            memory: source("memory.usage_in_bytes", "memory.current"),
            pids: source("pids.current", "pids.current").map(|found| found.dir),
            pressure: unified.filter(|dir| dir.join("cpu.pressure").exists()),
            huge_pages: dirs
                .iter()
                .flat_map(|dir| huge_page_sizes(&dir.path, dir.unified))
                .collect(),
        }
    }

    /// Reads all figures.
    ///
    /// # Errors
    /// `NotFound` when the groups are gone.
    pub fn read(&self) -> Result<Stats> {
        let mut text = Text::default();
        let mut stats = self.read_usage()?;
        if let Some(throttling) = &self.throttling {
            let text = text.read(&throttling.dir, "cpu.stat")?;
            stats.throttling = parse::throttling(text, throttling.unified);
        }
        if let Some(devices) = &self.devices {
            stats.devices = Some(devices.devices()?);
        }
        if let (Some(memory), Some(figures)) = (&self.memory, &mut stats.memory) {
            figures.oom_kills = Some(memory.oom_kills(&mut text)?);
        }
        Ok(stats)
    }

    /// Reads what the CRI's stats tell: neither `throttling` nor `devices`, and no `oom_kills`.
    ///
    /// # Errors
    /// `NotFound` when the groups are gone.
    pub fn read_usage(&self) -> Result<Stats> {
        let mut text = Text::default();
        let mut stats = Stats::default();
        if let Some(cpu) = &self.cpu {
            stats.cpu_usage_ns = Some(if cpu.unified {
                parse::field(text.read(&cpu.dir, "cpu.stat")?, "usage_usec") * 1000
            } else {
                parse::number(text.read(&cpu.dir, "cpuacct.usage")?)
            });
        }
        if let Some(source) = &self.memory {
            let memory = source.memory(&mut text)?;
            stats.swap = source.swap(&mut text, &memory)?;
            stats.memory = Some(memory);
        }
        if let Some(pids) = &self.pids {
            stats.pids = Some(parse::number(text.read(pids, "pids.current")?));
        }
        if let Some(dir) = &self.pressure {
            stats.pressure = Some(Pressures {
                cpu: parse::pressure(text.read(dir, "cpu.pressure")?),
                memory: parse::pressure(text.read(dir, "memory.pressure")?),
                io: parse::pressure(text.read(dir, "io.pressure")?),
            });
        }
        Ok(stats)
    }
}

/// `hugetlb.2MB.current` (v1: `hugetlb.2MB.usage_in_bytes`), beside `hugetlb.2MB.rsvd.current`.
fn huge_page_sizes(dir: &Path, unified: bool) -> Vec<(Source, String)> {
    let counter = if unified { ".current" } else { ".usage_in_bytes" };
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut sizes: Vec<String> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(counter)?;
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect();
    sizes.sort();
    let source = Source { dir: dir.to_owned(), unified };
    sizes.into_iter().map(|size| (source.clone(), size)).collect()
}

impl Source {
    /// Each device has a line, or several: these files have no bound.
    fn devices(&self) -> Result<Vec<DeviceIo>> {
        if self.unified {
            return Ok(parse::io_stat(&whole(&self.dir, "io.stat")?));
        }
        let bytes = whole(&self.dir, BLKIO_BYTES)?;
        Ok(parse::blkio(&bytes, &whole(&self.dir, BLKIO_OPERATIONS)?))
    }

    fn memory(&self, text: &mut Text) -> Result<Memory> {
        let (usage, limit) = if self.unified {
            ("memory.current", "memory.max")
        } else {
            ("memory.usage_in_bytes", "memory.limit_in_bytes")
        };
        let usage = parse::number(text.read(&self.dir, usage)?);
        let limit = parse::limit(text.read(&self.dir, limit)?);
        let stat = text.read(&self.dir, "memory.stat")?;
        // v1 has each figure twice: its own, and the total with the groups below.
        let field = |v1: &str, v2: &str| parse::field(stat, if self.unified { v2 } else { v1 });
        let inactive_file = field("total_inactive_file", "inactive_file");
        Ok(Memory {
            usage,
            working_set: usage.saturating_sub(inactive_file),
            rss: field("total_rss", "anon"),
            page_faults: field("total_pgfault", "pgfault"),
            major_page_faults: field("total_pgmajfault", "pgmajfault"),
            limit,
            oom_kills: None,
        })
    }

    fn swap(&self, text: &mut Text, memory: &Memory) -> Result<Option<Swap>> {
        if self.unified {
            let current = text.read_existing(&self.dir, "memory.swap.current")?;
            let Some(usage) = current.map(parse::number) else { return Ok(None) };
            let limit = parse::limit(text.read(&self.dir, "memory.swap.max")?);
            return Ok(Some(Swap { usage, limit }));
        }
        // v1 counts and limits memory and swap together.
        let both = text.read_existing(&self.dir, "memory.memsw.usage_in_bytes")?;
        let Some(both) = both.map(parse::number) else { return Ok(None) };
        let limit = parse::limit(text.read(&self.dir, "memory.memsw.limit_in_bytes")?);
        let limit = limit.zip(memory.limit).map(|(both, memory)| both.saturating_sub(memory));
        Ok(Some(Swap { usage: both.saturating_sub(memory.usage), limit }))
    }

    fn oom_kills(&self, text: &mut Text) -> Result<u64> {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        Ok(parse::field(text.read(&self.dir, file)?, "oom_kill"))
    }
}

/// Reads the figures of the groups, looking for their files first.
///
/// # Errors
/// `NotFound` when the groups are gone.
pub fn read(groups: &Cgroups) -> Result<Stats> {
    existing(groups)?.read()
}

/// A number in a file of lines with a name each; 0 where it has none of this name.
///
/// # Errors
/// `NotFound` when the group is gone.
pub(super) fn field_of(dir: &Path, file: &str, name: &str) -> Result<u64> {
    Ok(parse::field(Text::default().read(dir, file)?, name))
}

fn existing(groups: &Cgroups) -> Result<Files> {
    match groups.dirs.iter().find(|dir| !dir.path.exists()) {
        Some(dir) => {
            let text = format!("control group {} is gone", dir.path.display());
            Err(Error::new(Kind::NotFound, text))
        }
        None => Ok(Files::find(groups)),
    }
}

/// v1: with the groups below.
const BLKIO_BYTES: &str = "blkio.throttle.io_service_bytes_recursive";
const BLKIO_OPERATIONS: &str = "blkio.throttle.io_serviced_recursive";

/// All of a file, however long.
fn whole(dir: &Path, file: &str) -> Result<String> {
    let path = dir.join(file);
    std::fs::read_to_string(&path).map_err(removed).context(|| format!("read {}", path.display()))
}

/// A group that was removed while its file was open is one that is not there.
fn removed(error: std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(libc::ENODEV) => std::io::Error::from_raw_os_error(libc::ENOENT),
        _ => error,
    }
}

/// What a file of a group holds: a page at most.
struct Text {
    buffer: [u8; 4096],
}

impl Default for Text {
    fn default() -> Text {
        Text { buffer: [0; 4096] }
    }
}

impl Text {
    fn read(&mut self, dir: &Path, file: &str) -> Result<&str> {
        let path = dir.join(file);
        let read = std::fs::File::open(&path).and_then(|mut file| file.read(&mut self.buffer));
        let length = read.map_err(removed).context(|| format!("read {}", path.display()))?;
        let bytes = self.buffer.get(..length).unwrap_or_default();
        Ok(str::from_utf8(bytes).unwrap_or_default())
    }

    fn read_existing(&mut self, dir: &Path, file: &str) -> Result<Option<&str>> {
        match self.read(dir, file) {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

/// All that reads text of the kernel, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn fuzz(text: &str) {
    let (first, second) = text.split_once('\0').unwrap_or((text, ""));
    let _ = (parse::number(first), parse::limit(first), parse::field(first, second));
    let _ = (parse::throttling(first, true), parse::throttling(first, false));
    let _ = (parse::io_stat(first), parse::blkio(first, second), parse::pressure(first));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::CgroupDir;

    /// A group as a kernel shows it, all of its controllers in one folder.
    fn sample(version: &str) -> Stats {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cgroup/stats/samples");
        let path = samples.join(version);
        let dirs = vec![CgroupDir { path, unified: version != "v1", inherit_cpuset: false }];
        read(&Cgroups { dirs, ..Cgroups::default() }).unwrap()
    }

    fn expected() -> Stats {
        let disk = DeviceIo {
            major: 8,
            minor: 0,
            read_bytes: 1_183_744,
            write_bytes: 20_480,
            reads: 31,
            writes: 4,
        };
        let nvme = DeviceIo { major: 259, read_bytes: 4096, reads: 1, ..DeviceIo::default() };
        Stats {
            cpu_usage_ns: Some(5_311_042_123),
            throttling: Some(Throttling {
                periods: 412,
                throttled_periods: 57,
                throttled_ns: 2_950_871_004,
            }),
            memory: Some(Memory {
                usage: 9_142_272,
                working_set: 9_142_272 - 3_145_728,
                rss: 4 << 20,
                page_faults: 2213,
                major_page_faults: 9,
                limit: Some(256 << 20),
                oom_kills: Some(1),
            }),
            swap: Some(Swap { usage: 65_536, limit: None }),
            pids: Some(7),
            devices: Some(vec![disk, nvme]),
            pressure: None,
        }
    }

    #[test]
    fn the_figures_of_a_v1_group_are_read() {
        assert_eq!(sample("v1"), expected());
    }

    #[test]
    fn the_figures_of_a_v2_group_are_read_and_are_the_same_with_pressure_beside() {
        let line = |total_us| Stall { total_us, ..Stall::default() };
        let some = |total_us| Stall { avg10: 150, avg60: 25, ..line(total_us) };
        let pressures = Pressures {
            cpu: Pressure { some: some(31), full: line(15) },
            memory: Pressure { some: some(0), full: line(0) },
            io: Pressure { some: some(512), full: line(256) },
        };
        // v2 counts microseconds.
        let throttled_ns = 2_950_871_000;
        let throttling = expected().throttling.map(|it| Throttling { throttled_ns, ..it });
        let cpu_usage_ns = Some(5_311_042_000);
        let pressure = Some(pressures);
        assert_eq!(sample("v2"), Stats { cpu_usage_ns, throttling, pressure, ..expected() });
    }

    #[test]
    fn a_reading_of_what_is_told_leaves_out_what_is_not() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cgroup/stats/samples/v1");
        let dirs = vec![CgroupDir { path, unified: false, inherit_cpuset: false }];
        let files = Files::find(&Cgroups { dirs, ..Cgroups::default() });
        let memory = expected().memory.map(|memory| Memory { oom_kills: None, ..memory });
        let told = Stats { throttling: None, devices: None, memory, ..expected() };
        assert_eq!(files.read_usage().unwrap(), told);
        assert_eq!(files.read().unwrap(), expected());
    }

    #[test]
    fn what_a_host_does_not_count_is_not_told() {
        assert_eq!(sample("bare"), Stats { cpu_usage_ns: Some(7000), ..Stats::default() });
    }
}
