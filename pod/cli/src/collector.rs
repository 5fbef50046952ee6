//! Collection of images while a pod runs.

use async_trait::async_trait;
use rrun_images::Store;
use rrun_images::gc::Policy;
use rrun_pod::error::{Error, Kind};
use rrun_pod::events::Reason;
use rrun_pod::supervise::image_gc::{ImageCollector, Round};
use std::collections::BTreeSet;

/// Collects the images of this machine while a pod runs.
pub struct Collector {
    /// The images.
    pub images: Store,
    /// When, and which.
    pub policy: Policy,
}

#[async_trait]
impl ImageCollector for Collector {
    async fn collect(&self, spared: BTreeSet<String>) -> rrun_pod::error::Result<Round> {
        let done = self.images.collect_images_when_due(self.policy, spared).await;
        let (done, next) = done.map_err(|e| Error::new(Kind::Unavailable, e.to_string()))?;
        let trouble = done.as_ref().and_then(|done| {
            let reason = done.is_short().then_some(Reason::FreeDiskSpaceFailed);
            Some((reason, done.trouble()?))
        });
        Ok(Round { present: done.map(|done| done.present()), trouble, next })
    }
}
