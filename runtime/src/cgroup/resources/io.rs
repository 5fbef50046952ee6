//! Block I/O: weights and throttles.

use super::files::Files;
use super::{Setting, Value};
use crate::Result;

const FIELD: &str = "linux.resources.blockIO";

/// The weight of a new group, of a configuration's 10 to 1000.
const WEIGHT: u64 = 100;

impl Files<'_> {
    pub(super) fn io(&mut self) -> Result<()> {
        let controller = if self.controllers.home("blkio").is_some() { "blkio" } else { "io" };
        if let Some(home) = self.home(controller, FIELD, &[Setting::IoWeight])?
            && let Some(value) = self.change.get(&Setting::IoWeight)
        {
            // Which file takes a weight depends on the scheduler that is built in: all are
            // offered, and a host whose schedulers know no weights shares evenly.
            let weight = number(value);
            if home.v2 {
                self.offer(home.dir, "io.bfq.weight", weight);
                self.offer(home.dir, "io.weight", format!("default {}", v2_weight(weight)));
            } else {
                self.offer(home.dir, "blkio.weight", weight);
                self.offer(home.dir, "blkio.bfq.weight", weight);
            }
        }
        for (device, value) in self.named(|s| match s {
            Setting::IoDeviceWeight(device) => Some(device),
            _ => None,
        }) {
            let Some(home) = self.controllers.home(controller) else {
                return Err(super::missing(controller, FIELD));
            };
            let weight = number(&value);
            if home.v2 {
                self.offer(home.dir, "io.bfq.weight", format!("{device} {weight}"));
                self.offer(home.dir, "io.weight", format!("{device} {}", v2_weight(weight)));
            } else {
                self.offer(home.dir, "blkio.weight_device", format!("{device} {weight}"));
                self.offer(home.dir, "blkio.bfq.weight_device", format!("{device} {weight}"));
            }
        }
        self.throttles(controller)
    }

    fn throttles(&mut self, controller: &str) -> Result<()> {
        let all: Vec<_> = self.change.settings.iter().collect();
        for (setting, value) in all {
            let (v1, v2, device) = match setting {
                Setting::ReadBytes(device) => ("read_bps", "rbps", device),
                Setting::WriteBytes(device) => ("write_bps", "wbps", device),
                Setting::ReadOperations(device) => ("read_iops", "riops", device),
                Setting::WriteOperations(device) => ("write_iops", "wiops", device),
                _ => continue,
            };
            let Some(home) = self.controllers.home(controller) else {
                if *value == Value::Unset {
                    continue;
                }
                return Err(super::missing(controller, FIELD));
            };
            match (home.v2, value) {
                (true, Value::Number(rate)) => {
                    self.write(home.dir, "io.max", format!("{device} {v2}={rate}"));
                }
                (true, _) => self.write(home.dir, "io.max", format!("{device} {v2}=max")),
                (false, value) => {
                    // v1 takes 0 for no limit.
                    let rate = match value {
                        Value::Number(rate) => *rate,
                        _ => 0,
                    };
                    let file = format!("blkio.throttle.{v1}_device");
                    self.write(home.dir, file, format!("{device} {rate}"));
                }
            }
        }
        Ok(())
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Number(weight) => *weight,
        _ => WEIGHT,
    }
}

/// 10 to 1000 of the configuration to 1 to 10000 of `io.weight`.
fn v2_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}
