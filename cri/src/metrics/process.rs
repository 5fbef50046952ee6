//! The daemon's own process, by the names that Prometheus' client libraries have for it.

use super::figures::Out;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        if let Some(stat) =
            fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::read)
        {
            out.time("process_cpu_seconds", "User and system CPU time", stat.cpu)?;
            out.gauge("process_resident_memory_bytes", "Resident memory", stat.resident)?;
            out.gauge("process_virtual_memory_bytes", "Virtual memory", stat.virtual_memory)?;
            out.gauge("process_threads", "Threads", stat.threads)?;
            let start = "When the process started, in seconds since the epoch";
            out.seconds("process_start_time_seconds", start, stat.started)?;
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            // The one that it is read by is gone when this is told.
            let open = descriptors.count().saturating_sub(1);
            out.gauge("process_open_fds", "Open descriptors", open)?;
        }
        let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        match most.map(|(soft, _)| usize::try_from(soft)) {
            Ok(Ok(most)) => out.gauge("process_max_fds", "Descriptors that it may have", most),
            _ => Ok(()),
        }
    }
}

/// proc_pid_stat(5).
struct Stat {
    cpu: f64,
    threads: usize,
    started: f64,
    virtual_memory: usize,
    resident: usize,
}

impl Stat {
    fn read(text: &str) -> Option<Stat> {
        // The name may have blanks and brackets in it. What follows it is field 3.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let size = |field: usize| usize::try_from(number(field)?).ok();
        let ticks = sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
        let page = sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
        let seconds = |ticked: u64| ticked as f64 / ticks as f64;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        Some(Stat {
            cpu: seconds(number(14)? + number(15)?),
            threads: size(20)?,
            started: now - uptime + seconds(number(22)?),
            virtual_memory: size(23)?,
            resident: size(24)? * usize::try_from(page).ok()?,
        })
    }
}

fn sysconf(name: nix::unistd::SysconfVar) -> Option<i64> {
    nix::unistd::sysconf(name).ok().flatten()
}
