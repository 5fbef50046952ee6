//! When images are collected beside a pod, which of them the pods on record keep, and what is told
//! of it, as the kubelet tells it. Which images go is decided by whoever has them.
//!
//! Every process that runs a pod sees to it for the whole machine. Images of containers are known
//! to the runtime. Those that a pod on record names are spared too: it may be just about to make a
//! container of one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::store::Store;
use crate::clock::Clock;
use crate::error::Result;
use crate::events::{Reason, Recorder};
use crate::model::VolumeSource;
use crate::node::Node;
use crate::registry;

/// After a failure (`ImageGCPeriod`).
const PERIOD: Duration = Duration::from_secs(300);

/// Whoever has the images of the runtime, and collects them.
#[async_trait]
pub trait ImageCollector: Send + Sync {
    /// Collects, if it is time for that, and spares the images that these names mean.
    ///
    /// # Errors
    /// When it cannot be known which images are there.
    async fn collect(&self, spared: BTreeSet<String>) -> Result<Round>;
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Round {
    /// The ids of the images that are there now; `None` when it was not time.
    pub present: Option<BTreeSet<String>>,
    /// What went wrong, and the reason that its event has, if there is one.
    pub trouble: Option<(Option<Reason>, String)>,
    /// When to ask again.
    pub next: Duration,
}

/// Collects images of one runtime.
pub struct ImageGc {
    /// Who has them.
    pub collector: Arc<dyn ImageCollector>,
    /// The node, which knows who pulled them.
    pub node: Arc<dyn Node>,
    /// The time.
    pub clock: Clock,
    /// The records of pods.
    pub store: Store,
}

impl ImageGc {
    /// Collects whenever it is time. A failure that repeats itself is an event.
    pub async fn run(self, events: Recorder) {
        let mut failed_before = false;
        loop {
            let round = self.round().await.unwrap_or_else(|e| Round {
                present: None,
                trouble: Some((None, e.to_string())),
                next: PERIOD,
            });
            if let Some((reason, text)) = &round.trouble {
                tracing::warn!("collect images: {text}");
                if let Some(reason) = reason {
                    events.warning(None, *reason, text);
                }
                if failed_before {
                    events.warning(None, Reason::ImageGcFailed, text);
                }
            }
            if round.present.is_some() || round.trouble.is_some() {
                failed_before = round.trouble.is_some();
            }
            tokio::time::sleep(round.next).await;
        }
    }

    async fn round(&self) -> Result<Round> {
        let now = self.clock.now();
        let round = self.collector.collect(named(&self.store).await?).await?;
        if let Some(present) = &round.present {
            self.node.forget_pulls(present, now).await?;
        }
        Ok(round)
    }
}

/// The images that the pods on record name, of the runtime in this process. What cannot be read is
/// not run either.
///
/// # Errors
/// Those of the file system.
pub async fn named(store: &Store) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let (entries, _) = store.all().await?;
    let ours = entries.iter().filter(|entry| entry.definition.endpoint.is_none());
    for pod in ours.filter_map(|entry| entry.pod().ok()) {
        let volumes = pod.spec.volumes.iter().filter_map(|volume| match &volume.source {
            VolumeSource::Image { reference, .. } => Some(reference),
            _ => None,
        });
        let all = pod.spec.all().map(|(_, container)| &container.image).chain(volumes);
        names.extend(all.filter_map(|name| registry::with_default_tag(name)));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
