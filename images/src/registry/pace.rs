//! When a body that comes counts as stalled.

use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// How slow a body may come: fewer than `bytes` within `time` are a stall.
///
/// What is waited for is the network alone: a disk that is slow to take the bytes makes no stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Of waiting.
    pub time: Duration,
    /// The fewest bytes that must come in it; 0 for no bound.
    pub bytes: u64,
}

impl Default for Stall {
    fn default() -> Stall {
        Stall { time: Duration::from_secs(60), bytes: 64 << 10 }
    }
}

/// What came of one body since it was last measured.
#[derive(Debug)]
pub(crate) struct Pace {
    bound: Stall,
    waited: Duration,
    came: u64,
}

impl Pace {
    pub(crate) fn new(bound: Stall) -> Pace {
        Pace { bound, waited: Duration::ZERO, came: 0 }
    }

    /// So many bytes came after so long a wait.
    ///
    /// # Errors
    /// `Unavailable` if that is too slow.
    pub(crate) fn came(&mut self, bytes: u64, waited: Duration) -> Result<()> {
        self.waited += waited;
        self.came += bytes;
        if self.waited < self.bound.time {
            return Ok(());
        }
        let (came, waited) = (self.came, self.waited.as_secs_f64());
        *self = Pace::new(self.bound);
        if came >= self.bound.bytes {
            return Ok(());
        }
        let least = self.bound.bytes;
        let why = format!("stalled: {came} bytes came in {waited:.0} s, fewer than {least}");
        Err(Error::new(Kind::Unavailable, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_few_bytes_in_a_whole_window_and_each_window_is_measured_anew() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(Stall { time: seconds(60), bytes: 1000 });
        assert!(pace.came(1, seconds(29)).is_ok());
        assert!(pace.came(1, seconds(29)).is_ok());
        let error = pace.came(1, seconds(29)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.to_string(), "stalled: 3 bytes came in 87 s, fewer than 1000");
        // After it another one begins, and a burst counts for its own.
        assert!(pace.came(1000, seconds(60)).is_ok());
        assert!(pace.came(999, seconds(61)).is_err());
        let mut unbounded = Pace::new(Stall { time: seconds(1), bytes: 0 });
        assert!(unbounded.came(0, seconds(500)).is_ok());
    }
}
