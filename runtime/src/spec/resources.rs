//! CPU, processes, huge pages, network classes, RDMA, and v2's files by their own names.

use super::cgroups::Groups;
use super::invalid;
use crate::Result;
use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxNetwork, LinuxRdma};

pub fn cpu(groups: &mut Groups, cpu: &LinuxCpu) -> Result<()> {
    cpuset(groups, cpu)?;
    // 0 is unset everywhere; a quota of -1 is what one gets anyway.
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let burst = cpu.burst().filter(|burst| *burst != 0);
    let idle = cpu.idle().filter(|idle| *idle != 0);
    let realtime = [
        ("cpu.rt_period_us", cpu.realtime_period().filter(|n| *n != 0).map(|n| n.to_string())),
        ("cpu.rt_runtime_us", cpu.realtime_runtime().filter(|n| *n != 0).map(|n| n.to_string())),
    ];
    let asks = shares.is_some()
        || quota.is_some_and(|quota| quota > 0)
        || burst.is_some()
        || idle.is_some()
        || realtime.iter().any(|(_, value)| value.is_some());
    if groups.home("cpu").is_none() && !asks {
        return Ok(());
    }
    let home = groups.need("cpu", "linux.resources.cpu")?;
    if home.v2 {
        if realtime.iter().any(|(_, value)| value.is_some()) {
            return Err(invalid("linux.resources.cpu.realtimeRuntime: cgroup v2 has none"));
        }
        if let Some(shares) = shares {
            groups.write(home.dir, "cpu.weight", weight(shares));
        }
        if quota.is_some() || period.is_some() {
            let quota = quota.filter(|quota| *quota > 0);
            let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let period = period.unwrap_or(100_000);
            groups.write(home.dir, "cpu.max", format!("{quota} {period}"));
        }
        write_some(groups, home.dir, "cpu.max.burst", burst);
    } else {
        for (file, value) in realtime {
            write_some(groups, home.dir, file, value);
        }
        write_some(groups, home.dir, "cpu.shares", shares);
        write_some(groups, home.dir, "cpu.cfs_period_us", period);
        write_some(groups, home.dir, "cpu.cfs_quota_us", quota.map(|quota| quota.max(-1)));
        write_some(groups, home.dir, "cpu.cfs_burst_us", burst);
    }
    write_some(groups, home.dir, "cpu.idle", idle);
    Ok(())
}

/// Shares (2 to 262144) to weight (1 to 10000), on a straight line between the ends, as runc and
/// the kubelet have done it from the first v2 on: 1024 shares are weight 39.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn cpuset(groups: &mut Groups, cpu: &LinuxCpu) -> Result<()> {
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            let home = groups.need("cpuset", "linux.resources.cpu.cpus")?;
            groups.write(home.dir, file, list);
        }
    }
    Ok(())
}

fn write_some(groups: &mut Groups, dir: u8, file: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        groups.write(dir, file, value);
    }
}

/// A limit of 0 or less is none.
pub fn pids(groups: &mut Groups, limit: i64) -> Result<()> {
    if limit > 0 {
        let home = groups.need("pids", "linux.resources.pids")?;
        groups.write(home.dir, "pids.max", limit);
    }
    Ok(())
}

pub fn hugepages(groups: &mut Groups, limits: &[LinuxHugepageLimit]) -> Result<()> {
    const FIELD: &str = "linux.resources.hugepageLimits";
    for entry in limits {
        let size = entry.page_size();
        let number =
            size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB"));
        let plain = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
        if !number.is_some_and(plain) || size.starts_with('0') {
            return Err(invalid(format!("{FIELD}: {size:?} is no page size such as 2MB")));
        }
        let home = groups.need("hugetlb", FIELD)?;
        let limit = entry.limit();
        if limit < 0 {
            return Err(invalid(format!("{FIELD}: {limit} is no limit")));
        }
        let end = if home.v2 { "max" } else { "limit_in_bytes" };
        groups.write(home.dir, format!("hugetlb.{size}.{end}"), limit);
        // Reservations count too where the kernel can: else they are met by SIGBUS.
        groups.offer(home.dir, format!("hugetlb.{size}.rsvd.{end}"), limit);
    }
    Ok(())
}

pub fn network(groups: &mut Groups, network: &LinuxNetwork) -> Result<()> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        let home = groups.need("net_cls", "linux.resources.network.classID")?;
        groups.write(home.dir, "net_cls.classid", class);
    }
    for entry in network.priorities().iter().flatten() {
        let home = groups.need("net_prio", "linux.resources.network.priorities")?;
        let line = format!("{} {}", entry.name(), entry.priority());
        groups.write(home.dir, "net_prio.ifpriomap", line);
    }
    Ok(())
}

pub fn rdma<'a>(
    groups: &mut Groups,
    limits: impl Iterator<Item = (&'a String, &'a LinuxRdma)>,
) -> Result<()> {
    for (device, limit) in limits {
        let home = groups.need("rdma", "linux.resources.rdma")?;
        let part = |name, value: Option<u32>| value.map(|n| format!(" {name}={n}"));
        let handles = part("hca_handle", limit.hca_handles()).unwrap_or_default();
        let objects = part("hca_object", limit.hca_objects()).unwrap_or_default();
        groups.write(home.dir, "rdma.max", format!("{device}{handles}{objects}"));
    }
    Ok(())
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

pub fn unified<'a>(
    groups: &mut Groups,
    values: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<()> {
    let mut values: Vec<_> = values.collect();
    values.sort();
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
        let dir = match (controller, groups.unified) {
            ("cgroup", Some(dir)) => dir,
            ("cgroup", None) => return Err(invalid(format!("{field}: no cgroup v2 here"))),
            _ => match groups.need(controller, &field)? {
                home if home.v2 => home.dir,
                _ => return Err(invalid(format!("{field}: {controller} is on cgroup v1 here"))),
            },
        };
        for line in value.lines() {
            groups.write(dir, file.as_str(), line);
        }
    }
    Ok(())
}
