//! When what has failed is tried again.

use rrun_pod::model::Pod;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits by the name of what has failed.
#[derive(Default)]
pub struct Retries(BTreeMap<String, Retry>);

struct Retry {
    wait: Duration,
    at: Instant,
    /// Another one is tried at once.
    pod: Option<Pod>,
}

impl Retries {
    /// Whether it may be tried now.
    pub fn is_due(&self, name: &str, pod: Option<&Pod>) -> bool {
        self.0.get(name).is_none_or(|retry| retry.at <= Instant::now() || retry.pod.as_ref() != pod)
    }

    /// It has failed once more.
    pub fn failed(&mut self, name: &str, pod: Option<&Pod>) {
        let before = self.0.get(name).filter(|retry| retry.pod.as_ref() == pod);
        let wait = before.map_or(FIRST, |retry| (retry.wait * 2).min(LONGEST));
        let retry = Retry { wait, at: Instant::now() + wait, pod: pod.cloned() };
        self.0.insert(name.to_owned(), retry);
    }

    /// All that may be tried has been: what has not failed again is forgotten.
    pub fn tried(&mut self) {
        self.0.retain(|_, retry| retry.at > Instant::now());
    }

    /// Until the first of them may be tried; for ever if there is none.
    pub fn due(&self) -> impl Future<Output = ()> + use<> {
        let first = self.0.values().map(|retry| retry.at).min();
        async move {
            match first {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_to_the_longest_and_begin_anew_after_a_success() {
        let mut retries = Retries::default();
        assert!(retries.is_due("a", None));
        let mut waits = Vec::new();
        for _ in 0..8 {
            retries.failed("a", None);
            retries.tried();
            assert!(!retries.is_due("a", None) && retries.is_due("b", None));
            let before = Instant::now();
            retries.due().await;
            waits.push((Instant::now() - before).as_secs());
            assert!(retries.is_due("a", None));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        retries.tried();
        retries.failed("a", None);
        let before = Instant::now();
        retries.due().await;
        assert_eq!((Instant::now() - before).as_secs(), 1);
    }
}
