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
        *self.node.disk.lock().unwrap() = DiskSpace { capacity: 100 * GIB, available: gib * GIB };
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
