//! Pulls that run: who wants what somebody pulls already waits for that pull.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use tracing::Instrument;

use crate::credentials::Credentials;
use crate::digest::ImageId;
use crate::error::Result;
use crate::progress::{Event, Progress, Reporter, Watched};
use crate::pull::pull;
use crate::reference::Reference;
use crate::registry::{Registries, Registry};
use crate::store::Disk;

type Flight = Shared<BoxFuture<'static, Result<ImageId>>>;
/// One pull: who asks what with which credentials. Somebody without credentials must not join
/// the pull of somebody who has them.
type FlightKey = (Reference, Option<Credentials>);

/// The pulls that run in this process.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<FlightKey, Running>>);

/// A pull that runs, and where it is.
struct Running {
    flight: WeakShared<BoxFuture<'static, Result<ImageId>>>,
    watched: Watched,
}

impl Flights {
    /// Pulls, or joins a running pull of the same. A flight lives as long as one caller waits for
    /// it, and keeps the store open so long.
    pub(crate) async fn pull(
        &self,
        disk: &Disk,
        known: Arc<Registries>,
        (reference, auth): (&Reference, Option<&Credentials>),
        progress: Option<Progress>,
    ) -> Result<ImageId> {
        let key = (reference.clone(), auth.cloned());
        let own = progress.clone();
        let start = |watched: Watched| {
            let reporter = Reporter::new(progress, watched.clone());
            let (disk, (reference, auth)) = (disk.clone(), key.clone());
            let span = tracing::info_span!("verb", name = "PullImage", image = %reference);
            async move {
                let pulled = async {
                    let registry =
                        Registry::open(&disk.inner().config, &reference, auth.as_ref(), &known)?;
                    pull(&disk, registry, &reference, reporter).await
                };
                let pulled = pulled.await;
                let bytes = || watched.now().summary.map_or(0, |summary| summary.bytes);
                disk.inner().counters.pulled(pulled.is_ok().then(bytes));
                pulled
            }
            .instrument(span)
            .boxed()
            .shared()
        };
        let (flight, joined) = self.join(key.clone(), start);
        let done = flight.await;
        // Of a pull that others began one hears the end.
        let summary = joined.and_then(|watched| watched.now().summary);
        if let (Ok(_), Some(summary), Some(sender)) = (&done, summary, own) {
            let _ = sender.send(Event::Recorded { summary });
        }
        done
    }

    /// With where it is, if it runs already.
    fn join(
        &self,
        key: FlightKey,
        start: impl FnOnce(Watched) -> Flight,
    ) -> (Flight, Option<Watched>) {
        let mut all = self.running();
        if let Some(running) = all.get(&key)
            && let Some(flight) = running.flight.upgrade()
            && flight.peek().is_none()
        {
            return (flight, Some(running.watched.clone()));
        }
        let watched = Watched::new(key.0.clone());
        let started = start(watched.clone());
        if let Some(flight) = started.downgrade() {
            all.insert(key, Running { flight, watched });
        }
        (started, None)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<FlightKey, Running>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, one| one.flight.upgrade().is_some());
        all
    }

    /// Those that somebody waits for now.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        self.running().values().map(|one| one.watched.clone()).collect()
    }
}
