//! How many commands may run in containers at once, how many clients may be attached, and how many
//! connections forwarded: each takes descriptors of this process, which everything else needs as well.

use crate::error::{Error, Kind, Result};
use crate::id::PodId;
use nix::sys::resource::{Resource, getrlimit};
use rrun_blocking::{Full, Place, Shares};
use std::time::Duration;

/// However many descriptors there are.
const MOST: u64 = 1024;
/// How long one more waits for others to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What takes descriptors for as long as it goes on. Clients of the streaming server have their own
/// bound, an eighth: with it all together take nine tenths at most.
#[derive(Clone, Copy)]
pub(crate) enum For {
    /// At most half: both ends of three pipes while one is started, a terminal, and its process.
    Commands,
    /// At most five thirty-seconds: its ends of three pipes, and the shim's of two at first.
    Attached,
    /// At most an eighth: the connection, and the pod's network namespace at first.
    Forwarded,
}

impl For {
    /// Descriptors that there must be for each.
    fn each(self) -> u64 {
        match self {
            For::Commands | For::Forwarded => 16,
            For::Attached => 32,
        }
    }

    /// So many of them, of this pod or in all.
    fn words(self, count: usize, of: Full) -> String {
        match (self, of) {
            (For::Commands, Full::Share) => {
                format!("{count} commands run in containers of this pod")
            }
            (For::Commands, Full::All) => format!("{count} commands run in containers"),
            (For::Attached, Full::Share) => {
                format!("{count} clients are attached to containers of this pod")
            }
            (For::Attached, Full::All) => format!("{count} clients are attached to containers"),
            (For::Forwarded, Full::Share) => {
                format!("{count} connections are forwarded to this pod")
            }
            (For::Forwarded, Full::All) => format!("{count} connections are forwarded to pods"),
        }
    }
}

/// The places for one of them, of which one pod may have half.
pub(crate) struct Descriptors {
    what: For,
    places: Shares,
    count: usize,
    each_pod: usize,
    descriptors: u64,
}

impl Descriptors {
    /// As many as this process has descriptors for.
    pub(crate) fn new(what: For) -> Descriptors {
        Descriptors::within(what, getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft))
    }

    fn within(what: For, descriptors: u64) -> Descriptors {
        let count = usize::try_from((descriptors / what.each()).clamp(1, MOST)).unwrap_or(1);
        let each_pod = count.div_ceil(2);
        Descriptors { what, places: Shares::new(count, each_pod), count, each_pod, descriptors }
    }

    /// Takes one for a pod, which is given back when it is dropped.
    ///
    /// # Errors
    /// `Exhausted`, with the limit, when none has become free in time.
    pub(crate) async fn take(&self, pod: &PodId, limit: Option<Duration>) -> Result<Place> {
        let limit = limit.unwrap_or(PATIENCE).min(PATIENCE);
        self.places.take(pod.as_str(), limit).await.map_err(|full| {
            let count = match full {
                Full::Share => self.each_pod,
                Full::All => self.count,
            };
            let (going_on, descriptors) = (self.what.words(count, full), self.descriptors);
            let limit = format!("no more may at once (RLIMIT_NOFILE is {descriptors})");
            Error::new(Kind::Exhausted, format!("{going_on}, and {limit}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_on_in_one_pod_leaves_places_for_others() {
        let now = Some(Duration::ZERO);
        for (what, of_pod, of_all) in [
            (
                For::Commands,
                "2 commands run in containers of this pod",
                "3 commands run in containers",
            ),
            (
                For::Attached,
                "2 clients are attached to containers of this pod",
                "3 clients are attached to containers",
            ),
            (
                For::Forwarded,
                "2 connections are forwarded to this pod",
                "3 connections are forwarded to pods",
            ),
        ] {
            let files = 3 * what.each();
            let all = Descriptors::within(what, files);
            let (greedy, other) = (PodId::random().unwrap(), PodId::random().unwrap());
            let mut held = Vec::new();
            for pod in [&greedy, &greedy, &other] {
                held.push(all.take(pod, now).await.unwrap());
            }
            for (pod, words) in [(&greedy, of_pod), (&other, of_all)] {
                let refused = all.take(pod, now).await.unwrap_err();
                assert_eq!(refused.kind(), Kind::Exhausted);
                let limit = format!("no more may at once (RLIMIT_NOFILE is {files})");
                assert_eq!(refused.to_string(), format!("{words}, and {limit}"));
            }
            drop(held);
            all.take(&greedy, now).await.unwrap();
        }
    }
}
