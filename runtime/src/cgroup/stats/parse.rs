//! The kernel's text files. A field that is not there is 0.

use super::{Pressure, Stall};

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
