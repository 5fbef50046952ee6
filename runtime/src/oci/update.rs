//! The verb `update`.

use crate::cli::Update;
use crate::config::CGROUP_ROOT;
use crate::invalid;
use crate::record::{Folder, Record};
use crate::status::Status;
use oci_spec::runtime::LinuxResources;
use rrun_runtime::cgroup::{self, Controllers, Resources};
use rrun_runtime::plan::Cgroups;
use rrun_runtime::planning::{self, Host};
use rrun_runtime::{Context, Result, systemd};
use rrun_sys::step;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Changes what limits a container that is created or runs: what is not spoken of stays.
pub fn update(root: &Path, options: &Update) -> Result<()> {
    change(root, options).context(|| format!("update {}", options.id))
}

fn change(root: &Path, options: &Update) -> Result<()> {
    let folder = Folder::open(root, &options.id)?;
    let mut record = folder.read()?;
    record.check_groups()?;
    match Status::of(&folder, &record) {
        Status::Created | Status::Running | Status::Paused => {}
        status => return Err(invalid(format!("cannot update a container that is {status}"))),
    }
    let asked = match &options.resources {
        Some(file) => from_file(file)?,
        None => from_options(options)?,
    };
    let host = Host::detect(Path::new(CGROUP_ROOT))?;
    let change = planning::changed_resources(&asked, &host)?;
    planning::check_usage(&asked, &record.groups)?;
    let after = record.resources.after(&change);
    let forward = planned(&record, &record.resources, &change, &host)?;
    if let Err(error) = apply(&record, &forward) {
        // What was written before the one that was refused.
        let back = planned(&record, &after, &record.resources.back(&change), &host);
        let _ = back.and_then(|back| apply(&record, &back));
        return Err(error);
    }
    record.resources = after;
    step::run("oci.update.record", || folder.write(&record))
}

/// Writes new values, and tells them to who would undo them.
fn apply(record: &Record, change: &Cgroups) -> Result<()> {
    cgroup::update(change)?;
    record.scope().map_or(Ok(()), |scope| systemd::tell(&scope, change))
}

fn planned(
    record: &Record,
    in_force: &Resources,
    change: &Resources,
    host: &Host,
) -> Result<Cgroups> {
    let layout = host.cgroups.as_ref().ok_or_else(|| invalid("no control groups are mounted"))?;
    let controllers = Controllers::find(layout, &record.groups.dirs);
    in_force.plan(change, &record.groups.dirs, &controllers)
}

/// `linux.resources` alone, from a file or from stdin.
fn from_file(file: &Path) -> Result<LinuxResources> {
    let context = || format!("read {}", file.display());
    let json = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()).context(context)?,
        _ => std::fs::read_to_string(file).context(context)?,
    };
    serde_json::from_str(&json).map_err(|error| invalid(error.to_string())).context(context)
}

fn from_options(options: &Update) -> Result<LinuxResources> {
    for (name, schema) in [
        ("--l3-cache-schema", &options.l3_cache_schema),
        ("--mem-bw-schema", &options.mem_bw_schema),
    ] {
        if schema.as_ref().is_some_and(|schema| !schema.is_empty()) {
            return Err(invalid(format!("{name}: Intel RDT is not supported")));
        }
    }
    let memory = fields([
        ("limit", sizes("--memory", options.memory.as_deref())?),
        ("swap", sizes("--memory-swap", options.memory_swap.as_deref())?),
        ("reservation", sizes("--memory-reservation", options.memory_reservation.as_deref())?),
        ("kernel", sizes("--kernel-memory", options.kernel_memory.as_deref())?),
        ("kernelTCP", sizes("--kernel-memory-tcp", options.kernel_memory_tcp.as_deref())?),
    ]);
    let cpu = fields([
        ("shares", options.cpu_share.map(Value::from)),
        ("quota", options.cpu_quota.map(Value::from)),
        ("period", options.cpu_period.map(Value::from)),
        ("burst", options.cpu_burst.map(Value::from)),
        ("idle", options.cpu_idle.map(Value::from)),
        ("realtimePeriod", options.cpu_rt_period.map(Value::from)),
        ("realtimeRuntime", options.cpu_rt_runtime.map(Value::from)),
        ("cpus", options.cpuset_cpus.clone().map(Value::from)),
        ("mems", options.cpuset_mems.clone().map(Value::from)),
    ]);
    let mut all = json!({ "memory": memory, "cpu": cpu });
    if let Some(limit) = options.pids_limit {
        all["pids"] = json!({ "limit": limit });
    }
    if let Some(weight) = options.blkio_weight {
        all["blockIO"] = json!({ "weight": weight });
    }
    serde_json::from_value(all).map_err(|error| invalid(error.to_string()))
}

fn fields<const N: usize>(all: [(&str, Option<Value>); N]) -> Map<String, Value> {
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn sizes(option: &str, text: Option<&str>) -> Result<Option<Value>> {
    let Some(text) = text else { return Ok(None) };
    let size = size(text).ok_or_else(|| invalid(format!("{option} {text:?} is no size")))?;
    Ok(Some(size.into()))
}

/// Bytes, or a number with `k`, `m`, `g` or `t` for powers of 1024, and a `b` behind it for those
/// who like to write one; -1 is no limit.
fn size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match plain.as_bytes().last()? {
        b'k' => (&plain[..plain.len() - 1], 10),
        b'm' => (&plain[..plain.len() - 1], 20),
        b'g' => (&plain[..plain.len() - 1], 30),
        b't' => (&plain[..plain.len() - 1], 40),
        _ => (plain, 0),
    };
    let number: i64 = number.parse().ok()?;
    match number {
        -1 if shift == 0 => Some(-1),
        0.. => number.checked_mul(1 << shift),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("4096", Some(4096)),
            ("2k", Some(2048)),
            ("3M", Some(3 << 20)),
            ("1gb", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("", None),
            ("k", None),
            ("-2", None),
            ("-1k", None),
            ("1x", None),
            ("99999999t", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }
}
