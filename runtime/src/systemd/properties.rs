//! What systemd has to know of a container's limits.
//!
//! systemd writes to the files of a unit's group whenever it reads its units anew, also where the
//! group is delegated: what it was not told it writes as it is by default. So each value for a file
//! that systemd writes is told in systemd's words: systemd.resource-control(5).

use super::message::{Property, Value};
use crate::plan::{CgroupDir, CgroupWrite, Cgroups};

/// No limit.
const INFINITY: u64 = u64::MAX;

/// µs; the kernel's own.
const PERIOD: u64 = 100_000;

/// systemd keeps a quota as whole percents of a processor: µs in a second.
const PERCENT: u64 = 10_000;

/// The properties that say what `groups` are to be written. A file that systemd leaves alone has
/// none.
pub(super) fn of(groups: &Cgroups) -> Vec<Property> {
    let mut all = Vec::new();
    let mut devices = Vec::new();
    for write in &groups.writes {
        let Some(dir) = groups.dirs.get(usize::from(write.dir)) else { continue };
        match write.file.as_str() {
            "devices.allow" | "devices.deny" => devices.push(write),
            _ if dir.unified => unified(&mut all, write),
            _ => v1(&mut all, write, groups, dir),
        }
    }
    all.extend(device_policy(&devices));
    all
}

fn unified(all: &mut Vec<Property>, write: &CgroupWrite) {
    let value = write.value.as_str();
    let plain = |name| number(value).map(|number| (name, Value::Number(number)));
    let property = match write.file.as_str() {
        "memory.max" => plain("MemoryMax"),
        "memory.high" => plain("MemoryHigh"),
        "memory.low" => plain("MemoryLow"),
        "memory.min" => plain("MemoryMin"),
        "memory.swap.max" => plain("MemorySwapMax"),
        "pids.max" => plain("TasksMax"),
        "cpu.weight" => plain("CPUWeight"),
        // A weight of 0 is systemd's word for idle.
        "cpu.idle" if value == "1" => Some(("CPUWeight", Value::Number(0))),
        "io.weight" => value
            .strip_prefix("default ")
            .and_then(number)
            .map(|weight| ("IOWeight", Value::Number(weight))),
        "cpuset.cpus" => bits(value).map(|bits| ("AllowedCPUs", Value::Bytes(bits))),
        "cpuset.mems" => bits(value).map(|bits| ("AllowedMemoryNodes", Value::Bytes(bits))),
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
            return all.extend(cpu_time(number(quota), number(period)));
        }
        _ => None,
    };
    all.extend(property);
}

fn v1(all: &mut Vec<Property>, write: &CgroupWrite, groups: &Cgroups, dir: &CgroupDir) {
    let value = write.value.as_str();
    let plain = |name| number(value).map(|number| (name, Value::Number(number)));
    // Two files make one property: the other one is written too, or is as it was.
    let beside = |file: &str| {
        let written = groups.writes.iter().find(|w| w.dir == write.dir && w.file == file);
        let written = written.map(|write| write.value.clone());
        let text = written.or_else(|| std::fs::read_to_string(dir.path.join(file)).ok());
        text.and_then(|text| number(text.trim()))
    };
    let property = match write.file.as_str() {
        "memory.limit_in_bytes" => plain("MemoryLimit"),
        "pids.max" => plain("TasksMax"),
        "cpu.shares" => plain("CPUShares"),
        "blkio.weight" => plain("BlockIOWeight"),
        "cpu.cfs_quota_us" => {
            return all.extend(cpu_time(number(value), beside("cpu.cfs_period_us")));
        }
        "cpu.cfs_period_us" if beside("cpu.cfs_quota_us").is_some() => {
            return all.extend(cpu_time(beside("cpu.cfs_quota_us"), number(value)));
        }
        _ => None,
    };
    all.extend(property);
}

/// A quota in a period. systemd loses what is not a whole percent, and the rest of a quota must not
/// become 0: it is rounded up.
fn cpu_time(quota: Option<u64>, period: Option<u64>) -> [Property; 2] {
    let period = period.unwrap_or(PERIOD).max(1);
    let a_second = match quota {
        None | Some(INFINITY) => INFINITY,
        Some(quota) => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period);
            let exact = u64::try_from(exact).unwrap_or(INFINITY - PERCENT);
            exact.max(1).div_ceil(PERCENT).saturating_mul(PERCENT)
        }
    };
    [("CPUQuotaPerSecUSec", Value::Number(a_second)), ("CPUQuotaPeriodUSec", Value::Number(period))]
}

/// `max` and -1 are no limit.
fn number(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(INFINITY),
        text => text.parse().ok(),
    }
}

/// A list such as `0-2,7` as a bit for each number, the lowest first. An empty list is no bits.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // The kernel's own limit is far below; the write of the file refuses it.
        if last > 1 << 16 {
            return None;
        }
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Some(bits)
}

/// The rules of v1, where systemd would allow everything again. On v2 it knows nothing of a filter
/// that is not its own, and leaves it.
fn device_policy(writes: &[&CgroupWrite]) -> Vec<Property> {
    // A change of a few rules: systemd keeps no list that could be taken from, only one to begin
    // anew with or to add to.
    let anew = writes.iter().any(|write| write.value == "a" && write.file == "devices.deny");
    let open = writes.iter().any(|write| write.value == "a" && write.file == "devices.allow");
    let rules = writes.iter().filter(|write| write.file == "devices.allow" && write.value != "a");
    let rules: Vec<(String, String)> = rules.filter_map(|write| rule(&write.value)).collect();
    let mut all = Vec::new();
    if anew || open {
        let policy = if open { "auto" } else { "strict" };
        all.push(("DevicePolicy", Value::Text(policy.to_owned())));
        all.push(("DeviceAllow", Value::Pairs(Vec::new())));
    }
    if !open && !rules.is_empty() {
        all.push(("DeviceAllow", Value::Pairs(rules)));
    }
    all
}

/// `c 1:3 rwm` as systemd writes it: a node's path by its numbers, or `char-5` for all of a major.
fn rule(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "c" => "char",
        "b" => "block",
        _ => return None,
    };
    let (major, minor) = words.next()?.split_once(':')?;
    let device = match (major, minor) {
        ("*", _) => format!("{kind}-*"),
        (major, "*") => format!("{kind}-{major}"),
        (major, minor) => format!("/dev/{kind}/{major}:{minor}"),
    };
    Some((device, words.next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What is told of values for files in one hierarchy.
    fn told(is_unified: bool, values: &[(&str, &str)]) -> Vec<Property> {
        let dir = CgroupDir {
            path: Path::new("/nowhere").to_owned(),
            unified: is_unified,
            inherit_cpuset: false,
        };
        let write = |(file, value): &(&str, &str)| CgroupWrite {
            dir: 0,
            file: (*file).to_owned(),
            value: (*value).to_owned(),
            optional: false,
        };
        let writes = values.iter().map(write).collect();
        of(&Cgroups { dirs: vec![dir], writes, ..Cgroups::default() })
    }

    #[test]
    fn a_value_of_a_file_that_systemd_writes_is_told_in_its_words() {
        for (file, value, name, number) in [
            ("memory.max", "1048576", "MemoryMax", 1 << 20),
            ("memory.max", "max", "MemoryMax", INFINITY),
            ("memory.high", "5", "MemoryHigh", 5),
            ("memory.low", "0", "MemoryLow", 0),
            ("memory.min", "7", "MemoryMin", 7),
            ("memory.swap.max", "0", "MemorySwapMax", 0),
            ("pids.max", "12", "TasksMax", 12),
            ("cpu.weight", "39", "CPUWeight", 39),
            ("cpu.idle", "1", "CPUWeight", 0),
            ("io.weight", "default 50", "IOWeight", 50),
        ] {
            assert_eq!(told(true, &[(file, value)]), [(name, Value::Number(number))], "{file}");
        }
        for (file, value, name, number) in [
            ("memory.limit_in_bytes", "-1", "MemoryLimit", INFINITY),
            ("cpu.shares", "512", "CPUShares", 512),
            ("pids.max", "12", "TasksMax", 12),
            ("blkio.weight", "500", "BlockIOWeight", 500),
        ] {
            assert_eq!(told(false, &[(file, value)]), [(name, Value::Number(number))], "{file}");
        }
    }

    #[test]
    fn what_systemd_leaves_alone_is_not_told() {
        for file in ["hugetlb.2MB.max", "io.max", "memory.oom.group", "cpu.max.burst", "rdma.max"] {
            assert_eq!(told(true, &[(file, "1")]), []);
        }
        assert_eq!(told(true, &[("io.weight", "8:0 50"), ("cpu.idle", "0")]), []);
        assert_eq!(told(false, &[("net_cls.classid", "1"), ("cpuset.cpus", "0")]), []);
    }

    #[test]
    fn a_quota_is_whole_percents_of_a_processor_and_never_less_than_was_asked() {
        for (text, a_second, period) in [
            ("50000 100000", 500_000, 100_000),
            ("max 100000", INFINITY, 100_000),
            ("1000 100000", 10_000, 100_000),
            ("1001 100000", 20_000, 100_000),
            ("1 1000000", 10_000, 1_000_000),
            ("25000 50000", 500_000, 50_000),
        ] {
            let expected = [
                ("CPUQuotaPerSecUSec", Value::Number(a_second)),
                ("CPUQuotaPeriodUSec", Value::Number(period)),
            ];
            assert_eq!(told(true, &[("cpu.max", text)]), expected, "{text}");
        }
        let v1 = told(false, &[("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "25000")]);
        assert!(v1.contains(&("CPUQuotaPerSecUSec", Value::Number(500_000))), "{v1:?}");
        assert!(v1.contains(&("CPUQuotaPeriodUSec", Value::Number(50_000))), "{v1:?}");
    }

    #[test]
    fn a_list_of_processors_is_bits() {
        for (list, expected) in
            [("0", vec![1]), ("0-2,7", vec![0b1000_0111]), ("9", vec![0, 2]), ("\n", vec![])]
        {
            let expected = [("AllowedCPUs", Value::Bytes(expected))];
            assert_eq!(told(true, &[("cpuset.cpus", list)]), expected, "{list}");
        }
        assert_eq!(told(true, &[("cpuset.cpus", "0-99999999")]), []);
    }

    #[test]
    fn the_rules_of_devices_on_v1_are_told_and_those_of_v2_are_the_filters() {
        let text = |text: &str| text.to_owned();
        let told = told(
            false,
            &[
                ("devices.deny", "a"),
                ("devices.allow", "c 1:3 rwm"),
                ("devices.allow", "c 136:* rw"),
                ("devices.allow", "b *:* m"),
            ],
        );
        let rules = vec![
            (text("/dev/char/1:3"), text("rwm")),
            (text("char-136"), text("rw")),
            (text("block-*"), text("m")),
        ];
        let expected = [
            ("DevicePolicy", Value::Text(text("strict"))),
            ("DeviceAllow", Value::Pairs(Vec::new())),
            ("DeviceAllow", Value::Pairs(rules)),
        ];
        assert_eq!(told, expected);
    }
}
