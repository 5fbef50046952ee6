//! How many commands may run in containers at once: each takes descriptors of this process, which
//! everything else needs as well.

use crate::error::{Error, Kind, Result};
use nix::sys::resource::{Resource, getrlimit};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Descriptors that one command takes: both ends of three pipes while it is started, a terminal,
/// and as many to be sent. So at most half of all are theirs.
const EACH: u64 = 16;
/// However many descriptors there are.
const MOST: u64 = 1024;
/// How long a command waits for others to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The places for commands.
pub(crate) struct Commands {
    places: Arc<Semaphore>,
    count: usize,
    descriptors: u64,
}

impl Commands {
    /// As many as this process has descriptors for.
    pub(crate) fn new() -> Commands {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let count = usize::try_from((descriptors / EACH).clamp(1, MOST)).unwrap_or(1);
        Commands { places: Arc::new(Semaphore::new(count)), count, descriptors }
    }

    /// Takes one, which is given back when it is dropped.
    ///
    /// # Errors
    /// `Exhausted`, with the limit, when none has become free in time.
    pub(crate) async fn take(&self, limit: Option<Duration>) -> Result<OwnedSemaphorePermit> {
        let limit = limit.unwrap_or(PATIENCE).min(PATIENCE);
        match timeout(limit, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let Commands { count, descriptors, .. } = self;
                let message = format!(
                    "{count} commands run in containers, and no more may at once \
                     (RLIMIT_NOFILE is {descriptors})"
                );
                Err(Error::new(Kind::Exhausted, message))
            }
        }
    }
}
