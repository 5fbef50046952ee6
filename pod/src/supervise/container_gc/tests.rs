use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::fake::{FakeCri, FakeNode, Life};
use crate::model::Pod;
use crate::state::PodState;
use crate::status::Phase;
use crate::supervise::{Definition, LockedPod};
use crate::{PodEngine, PodHandle};

/// One runtime that has all pods, and how often it was asked for.
struct Scene {
    cri: Arc<FakeCri>,
    node: Arc<FakeNode>,
    clock: Clock,
    dir: tempfile::TempDir,
    reached: Arc<Mutex<Vec<String>>>,
}

struct Here(Arc<FakeCri>, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Reach for Here {
    async fn reach(&self, pod: &Entry) -> Result<Reached> {
        self.1.lock().unwrap().push(pod.name.clone());
        Ok(Reached { cri: self.0.clone(), locked: None })
    }
}

impl Scene {
    fn new() -> Scene {
        let clock = Clock::virtual_from(Timestamp::from_nanos(1_800_000_000_000_000_000));
        let cri = Arc::new(FakeCri::new(clock.clone()));
        let dir = tempfile::tempdir().unwrap();
        for sub in ["root", "run"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        Scene { node: Arc::default(), dir, clock, cri, reached: Arc::default() }
    }

    fn store(&self) -> Store {
        Store::new(self.dir.path().join("root"), self.dir.path().join("run"))
    }

    fn gc(&self, per_container: i32, total: i32) -> ContainerGc {
        ContainerGc {
            reach: Arc::new(Here(self.cri.clone(), self.reached.clone())),
            node: self.node.clone(),
            clock: self.clock.clone(),
            policy: GcPolicy::new(60_000_000_000, per_container, total).unwrap(),
            period: PERIOD,
            store: self.store(),
        }
    }

    /// A pod on record, and run, with one container of its name that fails after `lives` seconds.
    async fn run(&self, name: &str, lives: u64) -> (LockedPod, PodHandle) {
        self.cri.script(name, &[Life::ends(lives, 1)]);
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
             containers: [{{name: {name}, image: 'x:1'}}]\n"
        );
        let path = self.dir.path().join("pod.yaml");
        std::fs::write(&path, text).unwrap();
        let definition = Definition::read(&path, &[], None).unwrap();
        let pod: Pod = definition.pod().unwrap();
        let locked = self.store().lock_to_run(definition, &pod.meta).await.unwrap();
        let engine = PodEngine::new(self.cri.clone(), self.node.clone(), self.clock.clone());
        // The worker leaves them all: what goes then goes by the collection.
        let all = GcPolicy::new(0, i32::MAX, -1).unwrap();
        let handle = engine.await.unwrap().with_gc(all).run(pod);
        (locked, handle)
    }

    /// The dead containers that are left of a pod.
    fn left(&self) -> usize {
        self.cri.containers()
    }
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_collection_is_after_a_minute_and_each_minute_follows_one() {
    let scene = Scene::new();
    let (_locked, _pod) = scene.run("a", 1).await;
    let events = Recorder::new(scene.clock.clone());
    let running = tokio::spawn(scene.gc(1, -1).run(events.clone()));
    seconds(59).await;
    assert_eq!(scene.reached.lock().unwrap().len(), 0, "not yet");
    seconds(2).await;
    assert_eq!(scene.reached.lock().unwrap().len(), 1);
    assert_eq!(scene.left(), 4, "one alone is a minute old, and one may stay");
    seconds(60).await;
    // Begun at 0, 1, 12 and 33 seconds: all are a minute old by now, and the newest of them stays.
    let left: Vec<u32> = {
        let gone = scene.node.tombstones.lock().unwrap();
        gone.iter().map(|stone| stone.restart_count).collect()
    };
    assert_eq!(left, [0, 1, 2]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn the_limit_in_all_counts_the_pods_of_all_processes() {
    let scene = Scene::new();
    let (_one, _a) = scene.run("a", 1).await;
    seconds(5).await;
    let (_two, _b) = scene.run("b", 1).await;
    seconds(400).await;
    let before = scene.left();
    let dry = scene.gc(-1, 2).collect(true).await.unwrap();
    assert_eq!(scene.left(), before, "a dry run removes nothing");
    let done = scene.gc(-1, 2).collect(false).await.unwrap();
    assert_eq!(done, dry);
    assert_eq!(scene.left(), before - done.containers.len());
    let pods: BTreeSet<&str> = done.containers.iter().map(|(pod, ..)| pod.as_str()).collect();
    assert_eq!(pods.into_iter().collect::<Vec<_>>(), ["default/a", "default/b"]);
    let removed = |name| done.containers.iter().filter(|(_, dead, _)| dead.name == name).count();
    assert_eq!(removed("a"), removed("b"), "each keeps its share of one");
    assert!(
        done.containers.iter().all(|(.., cause)| *cause == Cause::Share { maximum: 2, share: 1 })
    );
    assert_eq!(scene.node.tombstones.lock().unwrap().len(), done.containers.len());
}

#[tokio::test(start_paused = true)]
async fn an_ended_pod_is_looked_at_once_and_its_containers_still_count() {
    let scene = Scene::new();
    let (mut locked, pod) = scene.run("a", 1).await;
    seconds(100).await;
    pod.stop(Some(1));
    let status = pod.wait().await;
    let mut state = PodState::new(&locked.entry.pod().unwrap(), scene.clock.now());
    state.status = status;
    state.status.phase = Phase::Failed;
    locked.save(state).await.unwrap();
    drop(locked);
    seconds(100).await;
    let before = scene.left();
    assert!(before > 2);
    for _ in 0..3 {
        assert_eq!(scene.gc(-1, -1).collect(false).await.unwrap(), Collected::default());
    }
    assert_eq!(*scene.reached.lock().unwrap(), ["a"]);
    let done = scene.gc(1, -1).collect(false).await.unwrap();
    assert_eq!((done.containers.len(), scene.left()), (before - 1, 1));
    assert_eq!(scene.reached.lock().unwrap().len(), 2, "once more, to remove them");
    assert_eq!(scene.gc(0, -1).collect(false).await.unwrap().containers.len(), 1);
    assert_eq!(scene.left(), 0);
    assert_eq!(scene.gc(0, -1).collect(false).await.unwrap(), Collected::default());
}

#[tokio::test(start_paused = true)]
async fn folders_of_logs_go_with_the_record_of_their_pod_and_what_is_no_pods_stays() {
    let scene = Scene::new();
    let (locked, _pod) = scene.run("a", 1).await;
    let mine = format!("default_a_{}", locked.entry.uid);
    let folders =
        [mine.as_str(), "default_gone_u-9", "lost+found", "a_b", "x_y_!"].map(String::from);
    *scene.node.log_folders.lock().unwrap() = folders.to_vec();
    // While a record is broken it is not known whose folders they are.
    let broken = scene.dir.path().join("root/default_broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("definition"), "no record\n").unwrap();
    let none = scene.gc(1, 1).collect(false).await.unwrap();
    assert_eq!(none.log_folders, Vec::<String>::new());
    std::fs::remove_dir_all(&broken).unwrap();
    let done = scene.gc(1, 1).collect(false).await.unwrap();
    assert_eq!(done.log_folders, ["default_gone_u-9"]);
    assert_eq!(scene.node.log_folders.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time_collects_and_a_pod_that_is_out_of_reach_hides_no_other() {
    struct Broken(Here);
    #[async_trait]
    impl Reach for Broken {
        async fn reach(&self, pod: &Entry) -> Result<Reached> {
            if pod.name == "a" {
                return Err(Error::new(Kind::Unavailable, "no answer"));
            }
            self.0.reach(pod).await
        }
    }
    let scene = Scene::new();
    let (_one, _a) = scene.run("a", 1).await;
    let (_two, _b) = scene.run("b", 1).await;
    seconds(200).await;
    let lock = try_lock(&scene.dir.path().join("run/containers.lock")).unwrap();
    let busy = scene.gc(1, -1).collect(false).await.unwrap_err();
    assert_eq!(busy.to_string(), "another process collects containers just now");
    assert_eq!(scene.gc(1, -1).collect_in_turn().await.unwrap(), Collected::default());
    drop(lock);
    let mut gc = scene.gc(1, -1);
    gc.reach = Arc::new(Broken(Here(scene.cri.clone(), Arc::default())));
    let done = gc.collect_in_turn().await.unwrap();
    assert_eq!(done.errors, ["pod default/a: no answer"]);
    assert!(
        !done.containers.is_empty() && done.containers.iter().all(|(pod, ..)| pod == "default/b")
    );
    seconds(54).await;
    assert_eq!(scene.gc(1, -1).collect_in_turn().await.unwrap(), Collected::default(), "just done");
    seconds(1).await;
    assert!(!scene.gc(1, -1).collect_in_turn().await.unwrap().containers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_runs_and_that_has_not_ended_is_left_to_whoever_goes_on_with_it() {
    let scene = Scene::new();
    let (locked, _pod) = scene.run("a", 1).await;
    seconds(200).await;
    drop(locked);
    assert_eq!(scene.gc(0, 0).collect(false).await.unwrap(), Collected::default());
    assert_eq!(scene.reached.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_is_given_up() {
    struct Hangs;
    #[async_trait]
    impl Reach for Hangs {
        async fn reach(&self, _: &Entry) -> Result<Reached> {
            std::future::pending().await
        }
    }
    let scene = Scene::new();
    let (_locked, _pod) = scene.run("a", 1).await;
    let gc = ContainerGc { reach: Arc::new(Hangs), ..scene.gc(1, 1) };
    let done = gc.collect(false).await.unwrap();
    assert_eq!(done.errors, ["pod default/a: its runtime does not answer in 20s"]);
}
