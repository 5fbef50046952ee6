//! What the interfaces of a network namespace count.

use crate::error::{Context, Result};
use crate::stats::InterfaceUsage;
use rrun_sys::netns;
use std::fs;
use std::path::Path;

/// The interfaces of the namespace that is pinned at `path`, the default one first. Blocks.
pub(super) fn of(path: &Path) -> Result<Vec<InterfaceUsage>> {
    let what = || format!("network namespace {}", path.display());
    let pin = fs::File::open(path).context(what)?;
    let read = || fs::read_to_string("/proc/thread-self/net/dev");
    Ok(parse(&netns::run_in(&pin, read).context(what)?.context(what)?))
}

/// Reads `/proc/net/dev`: two lines of titles, then per interface 8 counters received and 8 sent;
/// `lo` is left out.
fn parse(text: &str) -> Vec<InterfaceUsage> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().flat_map(str::parse).collect();
        let name = name.trim().to_owned();
        let count = |at: usize| counters.get(at).copied();
        Some(InterfaceUsage {
            rx_bytes: count(0)?,
            rx_packets: count(1)?,
            rx_errors: count(2)?,
            rx_dropped: count(3)?,
            tx_bytes: count(8)?,
            tx_packets: count(9)?,
            tx_errors: count(10)?,
            tx_dropped: count(11)?,
            name,
        })
    };
    let all = text.lines().skip(2).filter_map(line);
    let mut all: Vec<_> = all.filter(|interface| interface.name != "lo").collect();
    // The default one comes first.
    all.sort_by_key(|interface| interface.name != "eth0");
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_dev_is_read_with_eth0_first_and_without_lo() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets errs\n\
            lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
            aux0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n\
            eth0: 100 2 3 7 0 0 0 0 200 4 5 8 0 0 0 0\n\
            torn: 1 2\n";
        let all = parse(text);
        let names: Vec<_> = all.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names, ["eth0", "aux0"]);
        let expected = InterfaceUsage {
            name: "eth0".to_owned(),
            rx_bytes: 100,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 7,
            tx_bytes: 200,
            tx_packets: 4,
            tx_errors: 5,
            tx_dropped: 8,
        };
        assert_eq!(all[0], expected);
    }
}
