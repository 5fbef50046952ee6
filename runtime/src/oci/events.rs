//! The verb `events`: what a container uses, now and then, in the JSON that callers of runc know.

use crate::cli::Events;
use crate::invalid;
use crate::record::{Folder, Record};
use crate::status::{self, Status};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rrun_runtime::cgroup::stats::{DeviceIo, Files, Memory, Pressure, Stall, Stats};
use rrun_runtime::{Context, Kind, Result};
use serde_json::{Value, json};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Prints figures once, or at each interval until the container's first process ends. A kill for
/// want of memory is an event of its own, told with the figures that are read next.
pub fn events(root: &Path, options: &Events) -> Result<()> {
    print(root, options).context(|| format!("events {}", options.id))
}

fn print(root: &Path, options: &Events) -> Result<()> {
    let folder = Folder::open(root, &options.id)?;
    let record = folder.read()?;
    record.check_groups()?;
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(invalid("container not running"));
    }
    let init = status::live(&record)?;
    let files = Files::find(&record.groups);
    let mut kills = None;
    loop {
        let stats = match files.read() {
            Err(error) if error.kind() == Kind::NotFound && !options.stats => return Ok(()),
            stats => stats?,
        };
        let now = stats.memory.as_ref().and_then(|memory| memory.oom_kills).unwrap_or(0);
        if kills.is_some_and(|before| now > before) {
            line(&json!({ "type": "oom", "id": record.id }))?;
        }
        kills = Some(now);
        line(&stats_event(&record, &stats))?;
        if options.stats || has_ended(init.as_fd(), options.interval.0)? {
            return Ok(());
        }
    }
}

/// One event a line, at once: whoever reads waits for it.
fn line(event: &Value) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{event}").and_then(|()| out.flush()).context(|| "write")
}

/// Waits for an interval, or for the process's end.
fn has_ended(process: BorrowedFd<'_>, interval: PollTimeout) -> Result<bool> {
    let mut fds = [PollFd::new(process, PollFlags::POLLIN)];
    match poll(&mut fds, interval) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno).context(|| "wait for the process: poll"),
    }
}

/// Named as in runc's `types/events.go`; what is not read is left out.
fn stats_event(record: &Record, stats: &Stats) -> Value {
    let pressure = stats.pressure.as_ref();
    let mut cpu = json!({ "usage": { "total": stats.cpu_usage_ns.unwrap_or(0) } });
    if let Some(throttling) = &stats.throttling {
        cpu["throttling"] = json!({
            "periods": throttling.periods,
            "throttledPeriods": throttling.throttled_periods,
            "throttledTime": throttling.throttled_ns,
        });
    }
    let mut memory = stats.memory.as_ref().map_or_else(|| json!({}), memory_of);
    if let Some(swap) = &stats.swap {
        memory["swap"] = json!({ "usage": swap.usage, "limit": swap.limit.unwrap_or(u64::MAX) });
    }
    let mut io = json!({});
    if let Some(devices) = &stats.devices {
        io["ioServiceBytesRecursive"] = per_device(devices, |io| (io.read_bytes, io.write_bytes));
        io["ioServicedRecursive"] = per_device(devices, |io| (io.reads, io.writes));
    }
    if let Some(pressure) = pressure {
        cpu["psi"] = psi(&pressure.cpu);
        memory["psi"] = psi(&pressure.memory);
        io["psi"] = psi(&pressure.io);
    }
    let pids = json!({ "current": stats.pids.unwrap_or(0) });
    let data = json!({ "cpu": cpu, "memory": memory, "pids": pids, "blkio": io });
    json!({ "type": "stats", "id": record.id, "data": data })
}

fn memory_of(memory: &Memory) -> Value {
    json!({
        "usage": { "usage": memory.usage, "limit": memory.limit.unwrap_or(u64::MAX) },
        "raw": {
            "rss": memory.rss,
            "pgfault": memory.page_faults,
            "pgmajfault": memory.major_page_faults,
        },
    })
}

fn per_device(devices: &[DeviceIo], figures: impl Fn(&DeviceIo) -> (u64, u64)) -> Value {
    let entries = devices.iter().flat_map(|device| {
        let (read, written) = figures(device);
        [("Read", read), ("Write", written)].map(|(op, value)| {
            json!({ "major": device.major, "minor": device.minor, "op": op, "value": value })
        })
    });
    entries.collect()
}

fn psi(pressure: &Pressure) -> Value {
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    let stall = |stall: &Stall| {
        json!({
            "avg10": percent(stall.avg10),
            "avg60": percent(stall.avg60),
            "avg300": percent(stall.avg300),
            "total": stall.total_us,
        })
    };
    json!({ "some": stall(&pressure.some), "full": stall(&pressure.full) })
}
