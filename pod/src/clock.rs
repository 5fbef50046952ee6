//! Time and randomness, which nothing else in this crate asks the system for.
//!
//! Waiting is `tokio::time`, so a paused runtime moves a [`Clock::virtual_from`] clock and every
//! timer together, and a test of ten minutes of back-off takes no time at all.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point of wall time: nanoseconds since the Unix epoch, the unit that CRI uses.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From CRI's nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Zero means that the thing has not happened.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This point moved forward.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC with whole seconds, as Kubernetes prints times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = rrun_sys::time::Timestamp::new(self.0).to_string();
        let seconds = text.split_once('.').map_or("", |(seconds, _)| seconds);
        write!(f, "{seconds}Z")
    }
}

#[derive(Debug)]
enum Source {
    System,
    Virtual { epoch: Timestamp, start: tokio::time::Instant },
}

/// Where the time and the random numbers of a pod engine come from.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Clock(Arc::new(Source::System))
    }

    /// A clock that shows `epoch` now and advances with the tokio runtime's timers.
    pub fn virtual_from(epoch: Timestamp) -> Self {
        Clock(Arc::new(Source::Virtual { epoch, start: tokio::time::Instant::now() }))
    }

    /// The wall time.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System => Timestamp(rrun_sys::time::now()),
            Source::Virtual { epoch, start } => epoch.after(start.elapsed()),
        }
    }

    /// Waits until the clock shows `at`; returns at once if it has.
    pub async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(at.since(self.now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_nanos(seconds * 1_000_000_000).to_string(), text);
        }
    }
}
