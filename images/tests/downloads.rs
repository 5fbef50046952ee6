//! How many connections layers come by, and how many layers at a time.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Response;
use rrun_images::{Config, LayerState, Ranges, Store};
use support::layer::{dir, file, noise, tar};
use support::registry::{Body, TestRegistry, paced, partial, status, with_header};
use support::{TestImage, config, reference};

const RANGE: usize = 256 << 10;
const SIZE: usize = 24 * RANGE;
/// What one connection takes for a piece of 16 KiB.
const SLOW: Duration = Duration::from_millis(8);

/// An image with one layer, which would be no smaller if it were compressed.
fn image() -> TestImage {
    let layer = tar(&[dir("./"), file("data", noise(SIZE))]);
    TestImage::of(&[(layer.clone(), layer)])
}

/// What a slow registry was asked for.
#[derive(Debug, Default)]
struct Told {
    /// In order; all is `None`.
    ranges: Vec<Option<Range<usize>>>,
    /// How many answers went on at once at most.
    at_once: usize,
}

/// The one connection that all answers go through, where there is one.
type Line = Option<Arc<tokio::sync::Mutex<()>>>;

/// Pulls the image from a registry that sends each answer slowly; `otherwise` may answer the request
/// with this number, for these bytes, in another way.
async fn pull(
    line: Line,
    otherwise: impl Fn(usize, &Range<usize>) -> Option<Response<Body>> + Send + 'static,
) -> Told {
    let registry = TestRegistry::start().await;
    let image = image();
    registry.put("r/i", "1", &image);
    let (digest, bytes) = image.blobs.iter().find(|(_, b)| b.len() > SIZE).unwrap().clone();
    let told = Arc::new(Mutex::new(Told::default()));
    let (telling, now) = (Arc::clone(&told), Arc::new(AtomicUsize::new(0)));
    registry.fault(move |seen| {
        if !seen.path.ends_with(&digest.to_string()) {
            return None;
        }
        let (wanted, all) = (seen.wanted(bytes.len()), bytes.len());
        let sent = wanted.clone().unwrap_or(0..all);
        let mut told = telling.lock().unwrap();
        told.ranges.push(wanted.clone());
        if let Some(answer) = otherwise(told.ranges.len(), &sent) {
            return Some(answer);
        }
        let going_on = GoingOn::begin(&now);
        told.at_once = told.at_once.max(now.load(Ordering::SeqCst));
        let line = line.clone();
        let answer = paced(&bytes[sent.clone()], move || {
            let (line, _) = (line.clone(), &going_on);
            async move {
                let _line = match &line {
                    Some(line) => Some(line.lock().await),
                    None => None,
                };
                tokio::time::sleep(SLOW).await;
            }
        });
        let answer = with_header(answer, "accept-ranges", "bytes");
        Some(if wanted.is_some() { partial(answer, &sent, all) } else { answer })
    });
    let dir = tempfile::tempdir().unwrap();
    let ranges = Ranges { bytes: RANGE as u64, at_once: 4 };
    let store = Store::open(Config { ranges, ..config(dir.path()) }).await.unwrap();
    let name = reference(&format!("{}/r/i:1", registry.address));
    let pulled = store.pull(&name, None, None).await.unwrap();
    for layer in store.verify(&pulled.id.to_string()).await.unwrap() {
        assert_eq!(layer.state, LayerState::Whole);
    }
    std::mem::take(&mut told.lock().unwrap())
}

/// An answer, until it is dropped.
struct GoingOn(Arc<AtomicUsize>);

impl GoingOn {
    fn begin(now: &Arc<AtomicUsize>) -> GoingOn {
        now.fetch_add(1, Ordering::SeqCst);
        GoingOn(Arc::clone(now))
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_comes_slowly_by_each_connection_comes_by_several() {
    let told = pull(None, |_, _| None).await;
    assert!(told.at_once >= 3, "{told:?}");
    // What is asked for beside the first connection is asked for once.
    let mut asked: Vec<_> = told.ranges.iter().flatten().cloned().collect();
    asked.sort_by_key(|range| range.start);
    assert!(asked.windows(2).all(|two| two[0].end == two[1].start), "{told:?}");
    assert!(asked[0].start >= 2 * RANGE && asked.last().unwrap().end > SIZE, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_make_the_whole_no_faster_are_given_up() {
    let line = Some(Arc::default());
    let told = pull(line, |_, _| None).await;
    assert!(told.at_once <= 3, "{told:?}");
    // The rest by one again.
    assert!(told.ranges.last().unwrap().as_ref().unwrap().end > SIZE, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_sends_no_ranges_or_breaks_them_is_asked_for_the_rest_by_one_connection() {
    type Otherwise = fn(usize, &Range<usize>) -> Option<Response<Body>>;
    let table: [(&str, Otherwise); 4] = [
        ("refuses all", |_, sent| (sent.len() < SIZE).then(|| status(416))),
        ("refuses one", |nth, _| (nth == 2).then(|| status(416))),
        ("loses one", |nth, _| (nth == 3).then(|| status(404))),
        ("another range", |nth, sent| {
            let body = || paced(&vec![0; sent.len()], || async {});
            (nth == 2).then(|| partial(body(), &(0..sent.len()), SIZE))
        }),
    ];
    for (what, otherwise) in table {
        let told = pull(None, otherwise).await;
        // All of it, or from there on.
        let rest = told.ranges.last().unwrap().clone().unwrap_or(0..SIZE + 1);
        assert!(told.ranges.len() > 2 && rest.end > SIZE, "{what}: {told:?}");
        assert!(rest.start < SIZE - 4 * RANGE, "{what}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_layers_of_a_registry_come_at_a_time_over_all_pulls_and_others_are_not_held_up() {
    let (busy, other) = (TestRegistry::start().await, TestRegistry::start().await);
    let small = |name: &str| support::layer::layer(&[dir("./"), file(name, name)]);
    let image = |n: usize| TestImage::of(&["a", "b", "c"].map(|part| small(&format!("{n}{part}"))));
    for n in 0..4 {
        busy.put("r/i", &n.to_string(), &image(n));
    }
    other.put("r/i", "1", &image(9));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (open, gate) = tokio::sync::watch::channel(false);
    let highest = Arc::clone(&most);
    // The last blob of each is its config.
    let layers = (0..4).flat_map(|n| image(n).blobs.into_iter().take(3));
    let layers: HashMap<_, _> = layers.map(|(digest, b)| (digest.to_string(), b)).collect();
    busy.fault(move |seen| {
        let bytes = layers.get(seen.path.rsplit_once("/blobs/")?.1)?;
        let (going_on, gate) = (GoingOn::begin(&now), gate.clone());
        highest.fetch_max(now.load(Ordering::SeqCst), Ordering::SeqCst);
        Some(paced(bytes, move || {
            let _ = &going_on;
            let mut gate = gate.clone();
            async move { drop(gate.wait_for(|open| *open).await) }
        }))
    });
    let dir = tempfile::tempdir().unwrap();
    let config = Config { downloads_per_registry: 2, ..config(dir.path()) };
    let store = Store::open(config).await.unwrap();
    let pull = |registry: &TestRegistry, n: usize| {
        let (store, name) = (store.clone(), format!("{}/r/i:{n}", registry.address));
        tokio::spawn(async move { store.pull(&reference(&name), None, None).await.map(drop) })
    };
    let waiting: Vec<_> = (0..4).map(|n| pull(&busy, n)).collect();
    while most.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    pull(&other, 1).await.unwrap().unwrap();
    assert!(waiting.iter().all(|pull| !pull.is_finished()));
    open.send(true).unwrap();
    for pull in waiting {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}
