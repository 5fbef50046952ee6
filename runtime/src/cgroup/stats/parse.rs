//! The kernel's text files. A field that is not there is 0.

use super::{DeviceIo, Pressure, Stall, Throttling};
use std::collections::BTreeMap;

/// A file that is one number.
pub(super) fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// A limit: `max`, or v1's largest page-aligned number, is none.
pub(super) fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < i64::MAX as u64 & !0xffff)
}

/// A file of `name value` lines.
pub(super) fn field(text: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

/// `cpu.stat`; none where the controller is not enabled. v1 tells nanoseconds, v2 microseconds.
pub(super) fn throttling(text: &str, unified: bool) -> Option<Throttling> {
    text.lines().find(|line| line.starts_with("nr_periods "))?;
    let throttled_ns = match unified {
        true => field(text, "throttled_usec").saturating_mul(1000),
        false => field(text, "throttled_time"),
    };
    let (periods, throttled_periods) = (field(text, "nr_periods"), field(text, "nr_throttled"));
    Some(Throttling { periods, throttled_periods, throttled_ns })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, a line for each device.
pub(super) fn io_stat(text: &str) -> Vec<DeviceIo> {
    let mut devices = Devices::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        // A line of a controller's own, or one cut short by a device without figures.
        let Some(device) = words.next().and_then(numbers) else { continue };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "rbytes" => devices.of(device).read_bytes = number(value),
                "wbytes" => devices.of(device).write_bytes = number(value),
                "rios" => devices.of(device).reads = number(value),
                "wios" => devices.of(device).writes = number(value),
                _ => {}
            }
        }
    }
    devices.0.into_values().collect()
}

/// `8:0 Read 1` and `8:0 Write 2` among other lines, once of bytes and once of operations.
pub(super) fn blkio(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut devices = Devices::default();
    let lines = |text| str::lines(text).filter_map(blkio_line);
    for (device, what, value) in lines(bytes) {
        match what {
            "Read" => devices.of(device).read_bytes = value,
            "Write" => devices.of(device).write_bytes = value,
            _ => {}
        }
    }
    for (device, what, value) in lines(operations) {
        match what {
            "Read" => devices.of(device).reads = value,
            "Write" => devices.of(device).writes = value,
            _ => {}
        }
    }
    devices.0.into_values().collect()
}

fn blkio_line(line: &str) -> Option<((u32, u32), &str, u64)> {
    let mut words = line.split_whitespace();
    let device = numbers(words.next()?)?;
    Some((device, words.next()?, words.next()?.parse().ok()?))
}

/// `major:minor`
fn numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[derive(Default)]
struct Devices(BTreeMap<(u32, u32), DeviceIo>);

impl Devices {
    fn of(&mut self, (major, minor): (u32, u32)) -> &mut DeviceIo {
        self.0.entry((major, minor)).or_insert(DeviceIo { major, minor, ..DeviceIo::default() })
    }
}

/// `some avg10=0.12 avg60=3.40 avg300=5.60 total=78`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Pressure {
    let line = |kind: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(kind));
        found.map(stall).unwrap_or_default()
    };
    Pressure { some: line("some "), full: line("full ") }
}

fn stall(line: &str) -> Stall {
    let mut stall = Stall::default();
    for (name, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match name {
            "avg10" => stall.avg10 = hundredths(value),
            "avg60" => stall.avg60 = hundredths(value),
            "avg300" => stall.avg300 = hundredths(value),
            "total" => stall.total_us = number(value),
            _ => {}
        }
    }
    stall
}

/// `12.34` is 1234: the kernel writes two decimals always.
fn hundredths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let parse = |text: &str| text.parse::<u32>().unwrap_or(0);
    parse(whole).saturating_mul(100).saturating_add(parse(part).min(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "rss 1\ntotal_rss_huge 2\ntotal_rss 3\n";
        assert_eq!(field(text, "total_rss"), 3);
        assert_eq!(field(text, "rss"), 1);
        assert_eq!(field(text, "missing"), 0);
    }

    #[test]
    fn no_limit_is_told_in_two_ways() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("1048576\n"), Some(1 << 20));
    }

    #[test]
    fn pressure_is_read_with_its_decimals() {
        let text = "some avg10=0.12 avg60=3.40 avg300=100.00 total=78\n";
        let read = pressure(text);
        assert_eq!(read.some, Stall { avg10: 12, avg60: 340, avg300: 10000, total_us: 78 });
        assert_eq!(read.full, Stall::default());
        assert_eq!(pressure("garbage = some ="), Pressure::default());
    }
}
