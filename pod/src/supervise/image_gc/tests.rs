use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::fake::FakeNode;
use crate::pull_records::PullRecord;
use crate::supervise::Definition;

/// Answers as it is told, and then that it is not time.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<Round>>>,
    spared: Mutex<Vec<BTreeSet<String>>>,
}

#[async_trait]
impl ImageCollector for Scripted {
    async fn collect(&self, spared: BTreeSet<String>) -> Result<Round> {
        self.spared.lock().unwrap().push(spared);
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or(Ok(Round { present: None, trouble: None, next: PERIOD }))
    }
}

struct Scene {
    collector: Arc<Scripted>,
    node: Arc<FakeNode>,
    clock: Clock,
    dir: tempfile::TempDir,
    events: Recorder,
}

impl Scene {
    fn new() -> Scene {
        let clock = Clock::virtual_from(Timestamp::from_nanos(1_800_000_000_000_000_000));
        let dir = tempfile::tempdir().unwrap();
        for sub in ["root", "run"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let events = Recorder::new(clock.clone());
        Scene { collector: Arc::default(), node: Arc::default(), dir, events, clock }
    }

    fn store(&self) -> Store {
        Store::new(self.dir.path().join("root"), self.dir.path().join("run"))
    }

    fn answer(&self, answers: impl IntoIterator<Item = Result<Round>>) {
        self.collector.answers.lock().unwrap().extend(answers);
    }

    fn start(&self) -> tokio::task::JoinHandle<()> {
        let gc = ImageGc {
            collector: self.collector.clone(),
            node: self.node.clone(),
            clock: self.clock.clone(),
            store: self.store(),
        };
        tokio::spawn(gc.run(self.events.clone()))
    }

    fn told(&self) -> Vec<(Reason, String)> {
        let mut events = self.events.subscribe();
        std::iter::from_fn(|| events.next_now()).map(|e| (e.reason, e.message)).collect()
    }
}

async fn minutes(n: u64) {
    tokio::time::sleep(Duration::from_secs(60 * n)).await;
}

fn done(trouble: Option<(Option<Reason>, String)>) -> Result<Round> {
    Ok(Round { present: Some(BTreeSet::from(["sha256:a".to_owned()])), trouble, next: PERIOD })
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_repeats_itself_is_told_and_one_that_has_an_event_each_time() {
    let scene = Scene::new();
    let full = || Some((Some(Reason::FreeDiskSpaceFailed), "full".to_owned()));
    let hung = || Err(Error::new(Kind::Unavailable, "the disk hangs"));
    scene.answer([done(full()), done(None), hung(), hung(), done(full())]);
    let running = scene.start();
    minutes(21).await;
    running.abort();
    let (full, hung) = ("full".to_owned(), "the disk hangs".to_owned());
    let expected = [
        (Reason::FreeDiskSpaceFailed, full.clone()),
        (Reason::ImageGcFailed, hung),
        (Reason::FreeDiskSpaceFailed, full.clone()),
        (Reason::ImageGcFailed, full),
    ];
    assert_eq!(scene.told(), expected);
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_again_when_it_says_so_and_what_it_has_not_any_more_was_pulled_by_nobody() {
    let scene = Scene::new();
    for id in ["sha256:a", "sha256:b"] {
        scene.node.pulls.lock().unwrap().insert(id.to_owned(), PullRecord::default());
    }
    let later = Round { present: None, trouble: None, next: Duration::from_secs(30) };
    scene.answer([Ok(later), done(None)]);
    let running = scene.start();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(scene.collector.spared.lock().unwrap().len(), 1);
    assert_eq!(scene.node.pulls.lock().unwrap().len(), 2);
    minutes(1).await;
    running.abort();
    assert_eq!(scene.collector.spared.lock().unwrap().len(), 2);
    assert_eq!(scene.node.pulls.lock().unwrap().keys().collect::<Vec<_>>(), ["sha256:a"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_on_record_names_is_spared() {
    let scene = Scene::new();
    let path = scene.dir.path().join("pod.yaml");
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  \
        containers: [{name: a, image: x}]\n  volumes: [{name: v, image: {reference: 'y:2'}}]\n";
    std::fs::write(&path, text).unwrap();
    let definition = Definition::read(&path, &[], None).unwrap();
    let meta = definition.pod().unwrap().meta;
    let locked = scene.store().lock_to_run(definition, &meta).await.unwrap();
    let names: Vec<String> = named(&scene.store()).await.unwrap().into_iter().collect();
    assert_eq!(names, ["x:latest", "y:2"]);
    locked.discard().await.unwrap();
    assert!(named(&scene.store()).await.unwrap().is_empty());
}
