//! `linux.resources`, read and checked.

use super::{Host, device_rules, invalid, io, memory};
use crate::Result;
use crate::cgroup::{Resources, Setting, Value};
use oci_spec::runtime::{
    LinuxCpu, LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources,
};

/// What a container is created with: every one has a policy of devices.
///
/// # Errors
/// `Invalid`, naming the field and the reason.
pub fn created(resources: Option<&LinuxResources>, host: &Host) -> Result<Resources> {
    let mut asked = match resources {
        Some(resources) => changed(resources, host)?,
        None => Resources::default(),
    };
    let rules = resources.and_then(|resources| resources.devices().as_deref());
    asked.set_devices(device_rules::policy(rules.unwrap_or_default())?);
    Ok(asked)
}

/// What an update asks for; without rules of devices the policy stays.
///
/// # Errors
/// As [`created`].
pub fn changed(resources: &LinuxResources, host: &Host) -> Result<Resources> {
    let mut asked = Resources::default();
    if let Some(rules) = resources.devices().as_deref().filter(|rules| !rules.is_empty()) {
        asked.set_devices(device_rules::policy(rules)?);
    }
    if let Some(memory) = resources.memory() {
        memory::read(&mut asked, memory, host.page_size)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(&mut asked, cpu);
    }
    if let Some(limit) = resources.pids().as_ref().map(LinuxPids::limit) {
        signed(&mut asked, Setting::Pids, limit);
    }
    hugepages(&mut asked, resources.hugepage_limits().as_deref().unwrap_or_default())?;
    if let Some(io) = resources.block_io() {
        io::read(&mut asked, io)?;
    }
    if let Some(network) = resources.network() {
        self::network(&mut asked, network);
    }
    rdma(&mut asked, resources.rdma().iter().flatten());
    unified(&mut asked, resources.unified().iter().flatten())?;
    Ok(asked)
}

/// 0 says nothing, less than that asks for no limit.
fn signed(asked: &mut Resources, setting: Setting, value: i64) {
    match u64::try_from(value) {
        Ok(0) => {}
        Ok(number) => asked.set(setting, Value::Number(number)),
        Err(_) => asked.set(setting, Value::Unset),
    }
}

fn cpu(asked: &mut Resources, cpu: &LinuxCpu) {
    for (setting, value) in [
        (Setting::CpuShares, cpu.shares()),
        (Setting::CpuPeriod, cpu.period()),
        (Setting::RealtimePeriod, cpu.realtime_period()),
    ] {
        if let Some(number) = value.filter(|number| *number != 0) {
            asked.set(setting, Value::Number(number));
        }
    }
    signed(asked, Setting::CpuQuota, cpu.quota().unwrap_or(0));
    signed(asked, Setting::RealtimeRuntime, cpu.realtime_runtime().unwrap_or(0));
    // Of these 0 is a value, and a new group's.
    let switched = |number: u64| match number {
        0 => Value::Unset,
        number => Value::Number(number),
    };
    if let Some(burst) = cpu.burst() {
        asked.set(Setting::CpuBurst, switched(burst));
    }
    if let Some(idle) = cpu.idle() {
        asked.set(Setting::CpuIdle, switched(idle.unsigned_abs()));
    }
    for (setting, list) in [(Setting::CpusetCpus, cpu.cpus()), (Setting::CpusetMems, cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            asked.set(setting, Value::Text(list.to_owned()));
        }
    }
}

fn hugepages(asked: &mut Resources, limits: &[LinuxHugepageLimit]) -> Result<()> {
    const FIELD: &str = "linux.resources.hugepageLimits";
    for entry in limits {
        let size = entry.page_size();
        let number =
            size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB"));
        let plain = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
        if !number.is_some_and(plain) || size.starts_with('0') {
            return Err(invalid(format!("{FIELD}: {size:?} is no page size such as 2MB")));
        }
        let limit = u64::try_from(entry.limit())
            .map_err(|_| invalid(format!("{FIELD}: {} is no limit", entry.limit())))?;
        asked.set(Setting::HugePages(size.clone()), Value::Number(limit));
    }
    Ok(())
}

fn network(asked: &mut Resources, network: &LinuxNetwork) {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        asked.set(Setting::NetworkClass, Value::Number(class.into()));
    }
    for entry in network.priorities().iter().flatten() {
        let setting = Setting::NetworkPriority(entry.name().clone());
        asked.set(setting, Value::Number(entry.priority().into()));
    }
}

fn rdma<'a>(asked: &mut Resources, limits: impl Iterator<Item = (&'a String, &'a LinuxRdma)>) {
    for (device, limit) in limits {
        let part = |name, value: Option<u32>| value.map(|n| format!("{name}={n}"));
        let parts =
            [part("hca_handle", limit.hca_handles()), part("hca_object", limit.hca_objects())];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            asked.set(Setting::Rdma(device.clone()), Value::Text(parts.join(" ")));
        }
    }
}

/// Files that hold processes or change what the group is: they are the runtime's.
const RUNTIMES: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.type",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.subtree_control",
];

fn unified<'a>(
    asked: &mut Resources,
    values: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<()> {
    for (file, value) in values {
        let field = format!("linux.resources.unified: {file:?}");
        let (controller, rest) = file.split_once('.').unwrap_or(("", ""));
        let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if controller.is_empty() || rest.is_empty() || !plain {
            return Err(invalid(format!("{field} is no file of a group")));
        }
        if RUNTIMES.contains(&file.as_str()) {
            return Err(invalid(format!("{field} is the runtime's own")));
        }
        if value.trim().is_empty() {
            return Err(invalid(format!("{field} has no value")));
        }
        asked.set(Setting::Unified(file.clone()), Value::Text(value.clone()));
    }
    Ok(())
}
