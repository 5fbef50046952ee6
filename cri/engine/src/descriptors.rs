//! How many commands may run in containers at once: each takes descriptors of this process, which
//! everything else needs as well.

use crate::error::{Error, Kind, Result};
use crate::id::PodId;
use nix::sys::resource::{Resource, getrlimit};
use rrun_blocking::{Full, Place, Shares};
use std::time::Duration;

/// Descriptors that one command takes: both ends of three pipes while it is started, a terminal,
/// and as many to be sent. So at most half of all are theirs.
const EACH: u64 = 16;
/// However many descriptors there are.
const MOST: u64 = 1024;
/// How long a command waits for others to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The places for commands, of which one pod may have half.
pub(crate) struct Descriptors {
    places: Shares,
    count: usize,
    each_pod: usize,
    descriptors: u64,
}

impl Descriptors {
    /// As many as this process has descriptors for.
    pub(crate) fn new() -> Descriptors {
        Descriptors::within(getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft))
    }

    fn within(descriptors: u64) -> Descriptors {
        let count = usize::try_from((descriptors / EACH).clamp(1, MOST)).unwrap_or(1);
        let each_pod = count.div_ceil(2);
        Descriptors { places: Shares::new(count, each_pod), count, each_pod, descriptors }
    }

    /// Takes one for a pod, which is given back when it is dropped.
    ///
    /// # Errors
    /// `Exhausted`, with the limit, when none has become free in time.
    pub(crate) async fn take(&self, pod: &PodId, limit: Option<Duration>) -> Result<Place> {
        let limit = limit.unwrap_or(PATIENCE).min(PATIENCE);
        self.places.take(pod.as_str(), limit).await.map_err(|full| {
            let Descriptors { count, each_pod, descriptors, .. } = self;
            let running = match full {
                Full::Share => format!("{each_pod} commands run in containers of this pod"),
                Full::All => format!("{count} commands run in containers"),
            };
            let limit = format!("no more may at once (RLIMIT_NOFILE is {descriptors})");
            Error::new(Kind::Exhausted, format!("{running}, and {limit}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_of_one_pod_leave_places_for_those_of_others() {
        let commands = Descriptors::within(64);
        let (greedy, other) = (PodId::random().unwrap(), PodId::random().unwrap());
        let now = Some(Duration::ZERO);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(commands.take(&greedy, now).await.unwrap());
        }
        let refused = commands.take(&greedy, now).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Exhausted);
        let words = "2 commands run in containers of this pod, and no more may at once \
                     (RLIMIT_NOFILE is 64)";
        assert_eq!(refused.to_string(), words);
        held.push(commands.take(&other, now).await.unwrap());
        drop(held);
        commands.take(&greedy, now).await.unwrap();
    }
}
