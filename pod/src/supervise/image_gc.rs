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
mod tests {
    use super::*;
    use crate::fake::{FakeCri, FakeNode, Life};
    use crate::node::DiskSpace;
    use crate::supervise::Definition;
    use crate::{PodEngine, testing};

    const GIB: u64 = 1 << 30;

    struct Scene {
        cri: Arc<FakeCri>,
        node: Arc<FakeNode>,
        clock: Clock,
        dir: tempfile::TempDir,
        events: Recorder,
    }

    impl Scene {
        fn new(images: &[(&str, u64)]) -> Scene {
            let clock = Clock::virtual_from(Timestamp::from_nanos(1_800_000_000_000_000_000));
            let cri = Arc::new(FakeCri::new(clock.clone()));
            let scene = Scene {
                node: Arc::default(),
                dir: tempfile::tempdir().unwrap(),
                events: Recorder::new(clock.clone()),
                clock,
                cri,
            };
            for sub in ["root", "run"] {
                std::fs::create_dir(scene.dir.path().join(sub)).unwrap();
            }
            images.iter().for_each(|(id, gib)| scene.add(id, *gib, false));
            scene
        }

        fn add(&self, id: &str, gib: u64, pinned: bool) {
            let id = id.to_owned();
            let image = v1::Image { id, size: gib * GIB, pinned, ..Default::default() };
            self.cri.images.lock().unwrap().push(image);
        }

        /// Of 100 GiB.
        fn free(&self, gib: u64) {
            *self.node.disk.lock().unwrap() =
                DiskSpace { capacity: 100 * GIB, available: gib * GIB };
        }

        fn store(&self) -> Store {
            Store::new(self.dir.path().join("root"), self.dir.path().join("run"))
        }

        fn gc(&self, policy: ImageGcPolicy) -> ImageGc {
            ImageGc {
                cri: self.cri.clone(),
                node: self.node.clone(),
                clock: self.clock.clone(),
                policy,
                store: self.store(),
            }
        }

        async fn collect(&self) -> Result<()> {
            self.gc(ImageGcPolicy::default()).collect(&self.events).await
        }

        /// What was removed, in its order.
        fn removed(&self) -> Vec<String> {
            let all = self.cri.entries().into_iter();
            all.filter_map(|entry| Some(entry.strip_prefix("remove ")?.to_owned())).collect()
        }

        fn told(&self, reason: Reason) -> Vec<String> {
            let mut events = self.events.subscribe();
            let all = std::iter::from_fn(|| events.next_now());
            all.filter(|e| e.reason == reason).map(|e| e.message).collect()
        }
    }

    async fn minutes(n: u64) {
        tokio::time::sleep(Duration::from_secs(60 * n)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn from_the_high_threshold_on_the_longest_unused_go_until_the_low_one() {
        let scene = Scene::new(&[("old", 3), ("older", 3)]);
        scene.free(16);
        scene.collect().await.unwrap();
        minutes(3).await;
        scene.add("new", 9, false);
        scene.collect().await.unwrap();
        minutes(3).await;
        scene.collect().await.unwrap();
        assert_eq!(scene.removed(), Vec::<String>::new(), "84 percent are used");
        scene.free(15);
        scene.collect().await.unwrap();
        // 5 GiB are wanted: both that came first, and not the one that came later.
        assert_eq!(scene.removed(), ["old", "older"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_container_has_is_spared_and_lives_longer_than_what_nobody_ever_used() {
        let scene = Scene::new(&[("sha256:id", 2), ("never", 2)]);
        let engine = PodEngine::new(scene.cri.clone(), scene.node.clone(), scene.clock.clone());
        let engine = engine.await.unwrap();
        scene.cri.script("a", &[Life::ends(1, 0)]);
        let pod = testing::pod("  restartPolicy: Never\n  containers: [{name: a, image: x:1}]\n");
        engine.run(pod.clone()).wait().await;
        minutes(3).await;
        scene.collect().await.unwrap();
        minutes(3).await;
        scene.free(10);
        let failed = scene.collect().await.unwrap_err();
        assert_eq!(failed.kind(), Kind::Exhausted);
        assert_eq!(scene.removed(), ["never"], "a dead container has the other one");
        scene.add("never", 2, false);
        minutes(3).await;
        scene.free(50);
        scene.collect().await.unwrap();
        engine.remove(&pod).await.unwrap();
        scene.free(19);
        minutes(3).await;
        scene
            .gc(ImageGcPolicy { high_percent: 81, ..Default::default() })
            .collect(&scene.events)
            .await
            .unwrap();
        assert_eq!(scene.removed(), ["never", "never"], "the one that was used is last");
    }

    #[tokio::test(start_paused = true)]
    async fn pinned_ones_young_ones_and_those_that_a_pod_on_record_names_are_spared() {
        let scene = Scene::new(&[("sha256:id", 20)]);
        scene.add("pinned", 20, true);
        let path = scene.dir.path().join("pod.yaml");
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  \
            containers: [{name: a, image: 'x:1'}]\n";
        std::fs::write(&path, text).unwrap();
        let definition = Definition::read(&path, &[], None).unwrap();
        let meta = definition.pod().unwrap().meta;
        let locked = scene.store().lock_to_run(definition, &meta).unwrap();
        scene.collect().await.unwrap();
        minutes(10).await;
        scene.add("young", 20, false);
        scene.free(0);
        for _ in 0..2 {
            scene.collect().await.unwrap_err();
            tokio::time::sleep(Duration::from_secs(119)).await;
        }
        assert_eq!(scene.removed(), Vec::<String>::new());
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.collect().await.unwrap();
        assert_eq!(scene.removed(), ["young"]);
        locked.discard().unwrap();
        scene.collect().await.unwrap();
        assert_eq!(scene.removed(), ["young", "sha256:id"]);
    }

    #[tokio::test(start_paused = true)]
    async fn too_little_to_free_is_told_and_a_failure_that_repeats_itself_too() {
        let scene = Scene::new(&[("small", 1), ("stuck", 1)]);
        scene.cri.stuck_images.lock().unwrap().push("stuck".into());
        scene.free(50);
        let gc = scene.gc(ImageGcPolicy::default());
        let running = tokio::spawn(gc.run(scene.events.clone()));
        minutes(1).await;
        scene.free(10);
        minutes(5).await;
        assert_eq!(scene.removed(), ["small"]);
        assert_eq!(scene.told(Reason::ImageGcFailed), Vec::<String>::new(), "once");
        minutes(5).await;
        let wanted = "wanted to free 10737418240 bytes, but freed 0 bytes space with errors in \
            image deletion: remove image stuck: read-only file system";
        assert_eq!(scene.told(Reason::ImageGcFailed), [wanted]);
        scene.cri.stuck_images.lock().unwrap().clear();
        minutes(5).await;
        let full = "Insufficient free disk space on the node's image filesystem (90% of 100.0 GiB \
            used). Failed to free sufficient space by deleting unused images (freed 1073741824 \
            bytes). Investigate disk usage, as it could be used by active images, logs, volumes, \
            or other data.";
        assert_eq!(scene.told(Reason::FreeDiskSpaceFailed), [full]);
        assert_eq!(scene.told(Reason::ImageGcFailed), [wanted, full]);
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_for_the_maximum_age_goes_though_the_disk_is_empty() {
        let scene = Scene::new(&[("a", 1)]);
        let hour = Duration::from_secs(3_600);
        let policy = ImageGcPolicy::new(100, 80, Duration::ZERO, hour).unwrap();
        let running = tokio::spawn(scene.gc(policy).run(scene.events.clone()));
        minutes(61).await;
        assert_eq!(scene.removed(), Vec::<String>::new());
        minutes(5).await;
        assert_eq!(scene.removed(), ["a"]);
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn one_process_at_a_time_collects_and_what_it_saw_is_known_to_the_next() {
        let scene = Scene::new(&[("a", 20)]);
        scene.collect().await.unwrap();
        minutes(3).await;
        scene.free(10);
        let other = ImageRecords::lock(&scene.store()).unwrap().unwrap();
        scene.collect().await.unwrap();
        assert_eq!(scene.removed(), Vec::<String>::new());
        drop(other);
        scene.collect().await.unwrap();
        assert_eq!(scene.removed(), ["a"]);
    }

    #[test]
    fn thresholds_that_make_no_sense_are_refused_by_their_key() {
        let new = |high, low| ImageGcPolicy::new(high, low, Duration::ZERO, Duration::ZERO);
        assert!(new(100, 0).is_ok() && new(1, 0).is_ok());
        for (high, low, key) in [
            (101, 80, "image_gc_high_threshold_percent"),
            (85, 101, "image_gc_low_threshold_percent"),
            (80, 80, "image_gc_low_threshold_percent"),
        ] {
            assert!(new(high, low).unwrap_err().to_string().starts_with(key), "{high} {low}");
        }
    }
}
