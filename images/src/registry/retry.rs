//! How long to wait before the next try, and which hosts are asked last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Hint};

/// Who asks for a longer time is not waited for: the kubelet tries again by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// For so long a host that could not be reached is asked after all others.
const DOWN: Duration = Duration::from_secs(60);

/// The pause after failure number `n` (from 0).
pub(crate) fn back_off(n: u32) -> Duration {
    Duration::from_millis(200 << n.min(5))
}

/// The pause before the next round over the hosts, after round `n` (from 0) ended with `why`;
/// `None` if another one is of no use.
pub(crate) fn pause(n: u32, why: &Error) -> Option<Duration> {
    match why.hint() {
        Some(Hint::Busy(Some(wait))) => (wait <= LONGEST_WAIT).then(|| wait.max(back_off(n))),
        // Too many requests: the fewer the better.
        Some(Hint::Busy(None)) => Some(back_off(n + 2) * 2),
        _ => Some(back_off(n)),
    }
}

/// The hosts of this process that could not be reached a moment ago, by their base URL.
#[derive(Default)]
pub(crate) struct DownHosts(Mutex<HashMap<String, Instant>>);

impl DownHosts {
    pub(crate) fn has(&self, base: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, since| since.elapsed() < DOWN);
        all.contains_key(base)
    }

    pub(crate) fn note(&self, base: &str, is_down: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_down {
            all.insert(base.to_owned(), Instant::now());
        } else {
            all.remove(base);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn a_busy_host_is_given_the_time_it_asks_for_up_to_a_limit_and_more_than_an_unwell_one() {
        let of = |hint| Error::new(Kind::Unavailable, "x").with_hint(hint);
        let seconds = |s| Some(Hint::Busy(Some(Duration::from_secs(s))));
        assert_eq!(pause(0, &of(seconds(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(0, &of(seconds(0))), Some(back_off(0)));
        assert_eq!(pause(0, &of(seconds(3600))), None);
        let busy: Duration = (0..3).filter_map(|n| pause(n, &of(Some(Hint::Busy(None))))).sum();
        let unwell: Duration = (0..3).filter_map(|n| pause(n, &of(None))).sum();
        assert!(busy >= Duration::from_secs(10) && unwell < Duration::from_secs(2));
    }
}
