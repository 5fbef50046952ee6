//! Block I/O: weights and throttles.

use super::cgroups::Groups;
use super::invalid;
use crate::Result;
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

const FIELD: &str = "linux.resources.blockIO";

pub fn plan(groups: &mut Groups, io: &LinuxBlockIo) -> Result<()> {
    let throttles = throttles(io);
    let devices = io.weight_device().as_deref().unwrap_or_default();
    let weight = weight(io.weight(), "weight")?;
    let leaf = weight_of(io.leaf_weight());
    if weight.is_none() && leaf.is_none() && devices.is_empty() && throttles.is_empty() {
        return Ok(());
    }
    let controller = if groups.home("blkio").is_some() { "blkio" } else { "io" };
    let home = groups.need(controller, FIELD)?;
    if leaf.is_some() || devices.iter().any(|d| weight_of(d.leaf_weight()).is_some()) {
        // Went with the CFQ scheduler in Linux 5.0.
        return Err(invalid(format!("{FIELD}.leafWeight: no kernel of today has it")));
    }
    if let Some(weight) = weight {
        set_weight(groups, home.dir, home.v2, weight);
    }
    for device in devices {
        let Some(weight) = self::weight(device.weight(), "weightDevice.weight")? else { continue };
        let device = format!("{}:{}", device.major(), device.minor());
        if home.v2 {
            groups.offer(home.dir, "io.bfq.weight", format!("{device} {weight}"));
            groups.offer(home.dir, "io.weight", format!("{device} {}", v2_weight(weight)));
        } else {
            groups.offer(home.dir, "blkio.weight_device", format!("{device} {weight}"));
            groups.offer(home.dir, "blkio.bfq.weight_device", format!("{device} {weight}"));
        }
    }
    for (v1, v2, limit) in throttles {
        let device = format!("{}:{}", limit.major(), limit.minor());
        match (home.v2, limit.rate()) {
            // 0 is no limit for v1; v2 says so in words.
            (true, 0) => groups.write(home.dir, "io.max", format!("{device} {v2}=max")),
            (true, rate) => groups.write(home.dir, "io.max", format!("{device} {v2}={rate}")),
            (false, rate) => groups.write(home.dir, v1, format!("{device} {rate}")),
        }
    }
    Ok(())
}

/// Which file takes a weight depends on the scheduler that is built in: all are offered, and a
/// host whose schedulers know no weights shares evenly.
fn set_weight(groups: &mut Groups, dir: u8, v2: bool, weight: u16) {
    if v2 {
        groups.offer(dir, "io.bfq.weight", weight);
        groups.offer(dir, "io.weight", format!("default {}", v2_weight(weight)));
    } else {
        groups.offer(dir, "blkio.weight", weight);
        groups.offer(dir, "blkio.bfq.weight", weight);
    }
}

/// 10 to 1000 of the configuration to 1 to 10000 of `io.weight`.
fn v2_weight(weight: u16) -> u32 {
    1 + (u32::from(weight) - 10) * 9999 / 990
}

fn weight(value: Option<u16>, name: &str) -> Result<Option<u16>> {
    match weight_of(value) {
        Some(weight) if !(10..=1000).contains(&weight) => {
            Err(invalid(format!("{FIELD}.{name}: {weight} is not within 10 to 1000")))
        }
        weight => Ok(weight),
    }
}

/// 0 is unset.
fn weight_of(value: Option<u16>) -> Option<u16> {
    value.filter(|weight| *weight != 0)
}

/// v1's file, v2's key, and the limit.
fn throttles(io: &LinuxBlockIo) -> Vec<(&'static str, &'static str, &LinuxThrottleDevice)> {
    [
        ("blkio.throttle.read_bps_device", "rbps", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", "wbps", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", "riops", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", "wiops", io.throttle_write_iops_device()),
    ]
    .into_iter()
    .flat_map(|(v1, v2, list)| list.iter().flatten().map(move |limit| (v1, v2, limit)))
    .collect()
}
