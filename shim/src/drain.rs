//! How long the last output of a container that has ended is waited for.

use rrun_shim_protocol::LogSpec;
use std::time::{Duration, Instant};

/// How long a pipe of a container that has ended may be silent before whoever holds its other end
/// is known to be no part of it.
pub const SILENCE: Duration = Duration::from_secs(2);

/// The limits of a daemon that names none.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
const DRAIN_BYTES: u64 = 64 << 20;

/// The time after the end in which last output may come.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    since: Instant,
    /// Bytes that had been read by then.
    count: u64,
}

impl Drain {
    /// It has ended now, and so much was read.
    pub fn begin(count: u64) -> Drain {
        Drain { since: Instant::now(), count }
    }

    /// When it is over, and whether it is: by its time, or by what was read by now.
    pub fn limits(&self, log: Option<&LogSpec>, count: u64) -> (Instant, bool) {
        let time = log.and_then(|log| log.drain_timeout_ms).map(Duration::from_millis);
        let bytes = log.and_then(|log| log.drain_bytes).unwrap_or(DRAIN_BYTES);
        let end = self.since + time.unwrap_or(DRAIN_TIMEOUT);
        (end, Instant::now() >= end || count.saturating_sub(self.count) > bytes)
    }
}

/// Whether a container's last output is where it belongs.
pub enum Drained {
    /// It is, or is not waited for any more.
    Yes,
    /// It is not. When to look again; without a time something else will tell.
    No(Option<Instant>),
}
