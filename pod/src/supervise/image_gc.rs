//! Collection of images that no container uses, when the disk that they are on fills up
//! (`pkg/kubelet/images/image_gc_manager.go`).
//!
//! Every process that runs a pod collects for the whole machine, one at a time. Images of other
//! processes' containers are pinned by the runtime. Those that a pod on record names are spared
//! too: it may be just about to make a container of one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rrun_cri_api::{Cri, v1};
use tonic::Code;

use super::image_records::{ImageRecord, ImageRecords};
use super::store::Store;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::events::{Reason, Recorder};
use crate::model::VolumeSource;
use crate::node::Node;
use crate::registry;

/// How often (`ImageGCPeriod`).
const PERIOD: Duration = Duration::from_secs(300);

/// When images are collected, and which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGcPolicy {
    high_percent: u8,
    low_percent: u8,
    min_age: Duration,
    max_age: Duration,
}

/// The kubelet's defaults.
impl Default for ImageGcPolicy {
    fn default() -> Self {
        ImageGcPolicy {
            high_percent: 85,
            low_percent: 80,
            min_age: Duration::from_secs(120),
            max_age: Duration::ZERO,
        }
    }
}

impl ImageGcPolicy {
    /// Images are collected when `high` percent of the disk are used, until no more than `low` are.
    /// None younger than `min_age`; one that was not used for `max_age` (if that is not zero)
    /// whatever the disk says.
    ///
    /// # Errors
    /// `Invalid` as the kubelet's: above 100, or `low` not below `high`.
    pub fn new(high: u8, low: u8, min_age: Duration, max_age: Duration) -> Result<Self> {
        let invalid = |what: String| Err(Error::new(Kind::Invalid, what));
        for (key, value) in
            [("image_gc_high_threshold_percent", high), ("image_gc_low_threshold_percent", low)]
        {
            if value > 100 {
                return invalid(format!("{key}: {value}: want 0 to 100"));
            }
        }
        if low >= high {
            return invalid(format!(
                "image_gc_low_threshold_percent: {low}: must be less than \
                 image_gc_high_threshold_percent, {high}"
            ));
        }
        Ok(ImageGcPolicy { high_percent: high, low_percent: low, min_age, max_age })
    }

    /// Whether it never collects anything.
    fn is_off(&self) -> bool {
        self.high_percent == 100 && self.max_age.is_zero()
    }
}

/// Collects images of one runtime.
pub struct ImageGc {
    /// The runtime.
    pub cri: Arc<dyn Cri>,
    /// The node, for the size of its disk.
    pub node: Arc<dyn Node>,
    /// The time.
    pub clock: Clock,
    /// When and which.
    pub policy: ImageGcPolicy,
    /// The records of pods, beside which those of images are.
    pub store: Store,
}

/// An image that may go.
struct Unused {
    id: String,
    size: u64,
    record: ImageRecord,
}

impl ImageGc {
    /// Collects now and every five minutes. A failure that repeats itself is an event.
    pub(super) async fn run(self, events: Recorder) {
        if self.policy.is_off() {
            return;
        }
        let mut failed_before = false;
        loop {
            let done = self.collect(&events).await;
            if let Err(e) = &done {
                tracing::warn!("collect images: {e}");
                if failed_before {
                    events.warning(None, Reason::ImageGcFailed, e.to_string());
                }
            }
            failed_before = done.is_err();
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// One collection; nothing while another process collects.
    async fn collect(&self, events: &Recorder) -> Result<()> {
        let Some(mut locked) = ImageRecords::lock(&self.store)? else { return Ok(()) };
        let now = self.clock.now();
        let images = self.images().await?;
        let used = self.used().await?;
        locked.update(images.iter().map(|image| image.id.as_str()), &used, now)?;
        let present: BTreeSet<String> = images.iter().map(|image| image.id.clone()).collect();
        self.node.forget_pulls(&present, now).await?;
        let candidates = images.into_iter().filter(|i| !i.pinned && !used.contains(&i.id));
        let mut unused: Vec<Unused> = candidates
            .filter_map(|image| {
                let record = locked.get(&image.id)?;
                Some(Unused { id: image.id, size: image.size, record })
            })
            .collect();
        unused.sort_by_key(|image| (image.record.last_used, image.record.first_detected));
        let unused = self.free_old(unused, now).await?;
        self.free_space(unused, now, events).await
    }

    async fn images(&self) -> Result<Vec<v1::Image>> {
        let reply = self.cri.list_images(v1::ListImagesRequest::default()).await;
        Ok(reply.map_err(|e| Error::status("list images", &e))?.images)
    }

    /// The ids of images that containers have, dead ones too, as root or as a volume, and of those
    /// that pods name.
    async fn used(&self) -> Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        let reply = self.cri.list_containers(v1::ListContainersRequest::default()).await;
        for container in reply.map_err(|e| Error::status("list containers", &e))?.containers {
            let id = [container.image_id, container.image_ref];
            used.extend(id.into_iter().find(|id| !id.is_empty()));
            let request = v1::ContainerStatusRequest { container_id: container.id, verbose: false };
            match self.cri.container_status(request).await {
                Ok(reply) => {
                    let mounts = reply.status.map_or_else(Vec::new, |status| status.mounts);
                    used.extend(mounts.into_iter().filter_map(|mount| Some(mount.image?.image)));
                }
                Err(e) if e.code() == Code::NotFound => {}
                Err(e) => return Err(Error::status("container status", &e)),
            }
        }
        for name in self.named()? {
            let image = Some(v1::ImageSpec { image: name, ..Default::default() });
            let request = v1::ImageStatusRequest { image, verbose: false };
            let found = self.cri.image_status(request).await;
            let found = found.map_err(|e| Error::status("image status", &e))?.image;
            used.extend(found.map(|image| image.id));
        }
        Ok(used)
    }

    /// The images that the pods on record name. What cannot be read is not run either.
    fn named(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let (entries, _) = self.store.all()?;
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

    /// Removes what was not used for the maximum age; the answer is what stays.
    async fn free_old(&self, unused: Vec<Unused>, now: Timestamp) -> Result<Vec<Unused>> {
        let max_age = self.policy.max_age;
        if max_age.is_zero() {
            return Ok(unused);
        }
        let (old, mut rest): (Vec<_>, Vec<_>) =
            unused.into_iter().partition(|image| now.since(image.record.unused_since()) > max_age);
        let mut errors = Vec::new();
        for image in old {
            if let Err(e) = self.remove(&image).await {
                errors.push(e.to_string());
                rest.push(image);
            }
        }
        if errors.is_empty() {
            return Ok(rest);
        }
        let text = format!("images older than {max_age:?}: {}", errors.join(", "));
        Err(Error::new(Kind::Unavailable, text))
    }

    /// If the disk is used over the high threshold: removes images until it is at the low one.
    async fn free_space(
        &self,
        unused: Vec<Unused>,
        now: Timestamp,
        events: &Recorder,
    ) -> Result<()> {
        let Some((capacity, used_percent, wanted)) = self.wanted(events).await? else {
            return Ok(());
        };
        let (mut freed, mut errors) = (0, Vec::new());
        for image in unused {
            if freed >= wanted {
                break;
            }
            // It may have just been pulled for a container that is not there yet.
            if now.since(image.record.first_detected) < self.policy.min_age {
                continue;
            }
            match self.remove(&image).await {
                Ok(()) => freed += image.size,
                Err(e) => errors.push(e.to_string()),
            }
        }
        if !errors.is_empty() {
            let errors = errors.join(", ");
            let text = format!(
                "wanted to free {wanted} bytes, but freed {freed} bytes space with errors in \
                 image deletion: {errors}"
            );
            return Err(Error::new(Kind::Unavailable, text));
        }
        if freed < wanted {
            let text = format!(
                "Insufficient free disk space on the node's image filesystem ({used_percent}% of \
                 {} used). Failed to free sufficient space by deleting unused images (freed \
                 {freed} bytes). Investigate disk usage, as it could be used by active images, \
                 logs, volumes, or other data.",
                size(capacity)
            );
            events.warning(None, Reason::FreeDiskSpaceFailed, &text);
            return Err(Error::new(Kind::Exhausted, text));
        }
        Ok(())
    }

    /// The disk's capacity in bytes, how much of it is used in percent, and how many bytes are to
    /// be freed; `None` when it is not full enough.
    async fn wanted(&self, events: &Recorder) -> Result<Option<(u64, u64, u64)>> {
        let reply = self.cri.image_fs_info(v1::ImageFsInfoRequest {}).await;
        let reply = reply.map_err(|e| Error::status("image file system", &e))?;
        let first = reply.image_filesystems.into_iter().next().and_then(|fs| fs.fs_id);
        let mountpoint = first.map(|id| id.mountpoint).unwrap_or_default();
        let disk = self.node.disk_space(Path::new(&mountpoint)).await?;
        if disk.capacity == 0 {
            let text = "invalid capacity 0 on image filesystem";
            events.warning(None, Reason::InvalidDiskCapacity, text);
            return Err(Error::new(Kind::Unavailable, text));
        }
        let percent_of = |percent: u64| {
            let bytes = u128::from(disk.capacity) * u128::from(percent) / 100;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        let available = disk.available.min(disk.capacity);
        let free_percent = u128::from(available) * 100 / u128::from(disk.capacity);
        let used_percent = 100 - u64::try_from(free_percent).unwrap_or(100);
        if used_percent < self.policy.high_percent.into() {
            return Ok(None);
        }
        let wanted = percent_of(100 - u64::from(self.policy.low_percent));
        Ok(Some((disk.capacity, used_percent, wanted.saturating_sub(available))))
    }

    async fn remove(&self, image: &Unused) -> Result<()> {
        tracing::info!(image = image.id, bytes = image.size, "collected");
        let spec = v1::ImageSpec { image: image.id.clone(), ..Default::default() };
        let request = v1::RemoveImageRequest { image: Some(spec) };
        let done = self.cri.remove_image(request).await;
        done.map(drop).map_err(|e| Error::status(format!("remove image {}", image.id), &e))
    }
}

/// `12.3 GiB`, as the kubelet's event spells it.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        value /= 1024.0;
        if value < 1024.0 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} TiB", value / 1024.0)
}

#[cfg(test)]
mod tests;
