//! Block I/O of a configuration: weights and throttles.

use super::invalid;
use crate::Result;
use crate::cgroup::{Resources, Setting, Value};
use oci_spec::runtime::LinuxBlockIo;

const FIELD: &str = "linux.resources.blockIO";

pub fn read(asked: &mut Resources, io: &LinuxBlockIo) -> Result<()> {
    let devices = io.weight_device().as_deref().unwrap_or_default();
    let leaf = io.leaf_weight().into_iter().chain(devices.iter().filter_map(|d| d.leaf_weight()));
    if leaf.into_iter().any(|weight| weight != 0) {
        // Went with the CFQ scheduler in Linux 5.0.
        return Err(invalid(format!("{FIELD}.leafWeight: no kernel of today has it")));
    }
    if let Some(weight) = weight(io.weight(), "weight")? {
        asked.set(Setting::IoWeight, weight);
    }
    for device in devices {
        if let Some(weight) = weight(device.weight(), "weightDevice.weight")? {
            let device = format!("{}:{}", device.major(), device.minor());
            asked.set(Setting::IoDeviceWeight(device), weight);
        }
    }
    let read_bytes: fn(String) -> Setting = Setting::ReadBytes;
    let throttles = [
        (read_bytes, io.throttle_read_bps_device()),
        (Setting::WriteBytes, io.throttle_write_bps_device()),
        (Setting::ReadOperations, io.throttle_read_iops_device()),
        (Setting::WriteOperations, io.throttle_write_iops_device()),
    ];
    for (setting, list) in throttles {
        for limit in list.iter().flatten() {
            let rate = match limit.rate() {
                0 => Value::Unset,
                rate => Value::Number(rate),
            };
            asked.set(setting(format!("{}:{}", limit.major(), limit.minor())), rate);
        }
    }
    Ok(())
}

/// 0 says nothing.
fn weight(value: Option<u16>, name: &str) -> Result<Option<Value>> {
    match value {
        None | Some(0) => Ok(None),
        Some(weight @ 10..=1000) => Ok(Some(Value::Number(weight.into()))),
        Some(weight) => Err(invalid(format!("{FIELD}.{name}: {weight} is not within 10 to 1000"))),
    }
}
