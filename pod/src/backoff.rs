//! Exponential back-off with the kubelet's rules (`client-go/util/flowcontrol.Backoff`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// First wait after a crash or a failed pull.
pub const INITIAL: Duration = Duration::from_secs(10);
/// Longest wait.
pub const MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    wait: Duration,
    updated: Timestamp,
}

/// Waits by key. An entry that was not touched for twice the longest wait is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff(BTreeMap<String, Entry>);

impl Backoff {
    /// If `now` is still within the wait that began with `event`: how long the wait is.
    pub fn waiting_since(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Duration> {
        let entry = self.0.get(key).filter(|e| !expired(e, event))?;
        (now.since(event) < entry.wait).then_some(entry.wait)
    }

    /// The same for a wait that began with the last [`Backoff::next`].
    pub fn waiting_since_update(&self, key: &str, now: Timestamp) -> Option<Duration> {
        let entry = self.0.get(key).filter(|e| !expired(e, now))?;
        (now.since(entry.updated) < entry.wait).then_some(entry.wait)
    }

    /// When the wait that began with `event` ends.
    pub fn ends_after(&self, key: &str, event: Timestamp) -> Option<Timestamp> {
        let entry = self.0.get(key).filter(|e| !expired(e, event))?;
        Some(event.after(entry.wait))
    }

    /// When the wait ends that began with the last [`Backoff::next`].
    pub fn ends(&self, key: &str) -> Option<Timestamp> {
        self.0.get(key).map(|entry| entry.updated.after(entry.wait))
    }

    /// Another try for `event`: 10 s at first, then twice as long each time, at most 300 s.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let wait = match self.0.get(key).filter(|e| !expired(e, event)) {
            Some(entry) => (entry.wait * 2).min(MAX),
            None => INITIAL,
        };
        self.0.insert(key.to_owned(), Entry { wait, updated: now });
    }
}

fn expired(entry: &Entry, event: Timestamp) -> bool {
    event.since(entry.updated) > MAX * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_cap_and_are_forgotten_after_a_long_run() {
        let at = |s: u64| Timestamp::from_nanos(1).after(Duration::from_secs(s));
        let mut backoff = Backoff::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            // The container ends one second after each start.
            let ended = now + 1;
            let wait = backoff.waiting_since("k", at(ended), at(ended)).unwrap_or_default();
            waits.push(wait.as_secs());
            now = ended + wait.as_secs();
            assert_eq!(backoff.waiting_since("k", at(ended), at(now)), None);
            backoff.next("k", at(ended), at(now));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        let later = now + 601;
        assert_eq!(backoff.waiting_since("k", at(later), at(later)), None);
        backoff.next("k", at(later), at(later));
        assert_eq!(backoff.waiting_since("k", at(later), at(later)).unwrap().as_secs(), 10);
    }
}
