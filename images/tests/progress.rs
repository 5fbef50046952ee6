//! What a pull tells while it runs.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use rrun_images::{Config, Digest, Event, LayerPhase, Pulling, Store, Summary, Wait};
use support::layer::{dir, file, layer, noise};
use support::registry::{TestRegistry, paced};
use support::{Scratch, TestImage, config, reference};
use tokio::sync::mpsc;

fn of_two() -> TestImage {
    let lower = layer(&[dir("./"), file("noise", noise(300_000))]);
    TestImage::of(&[lower, layer(&[file("top", "t")])])
}

async fn pulled(store: &Store, name: &str) -> Vec<Event> {
    let (progress, mut events) = mpsc::unbounded_channel();
    store.pull(&reference(name), None, Some(progress)).await.unwrap();
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

fn summary(events: &[Event]) -> &Summary {
    match events.last() {
        Some(Event::Recorded { summary }) => summary,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_layer_is_told_from_its_first_byte_to_its_place_and_the_end_says_where_the_time_went()
{
    let (registry, scratch, image) = (TestRegistry::start().await, Scratch::new().await, of_two());
    registry.put("r/i", "1", &image);
    let events = pulled(&scratch.store, &format!("{}/r/i:1", registry.address)).await;
    let Event::Resolved { layers, .. } = &events[0] else { panic!("{events:?}") };
    for (digest, size) in layers {
        let of_layer: Vec<&Event> = events
            .iter()
            .filter(|event| match event {
                Event::Downloaded { layer, .. }
                | Event::Fetched { layer }
                | Event::Unpacked { layer } => layer == digest,
                _ => false,
            })
            .collect();
        let [first, .., last, fetched, unpacked] = &of_layer[..] else { panic!("{of_layer:?}") };
        assert!(matches!(first, Event::Downloaded { bytes: 0, .. }), "{of_layer:?}");
        assert!(matches!(last, Event::Downloaded { bytes, .. } if bytes == size), "{of_layer:?}");
        assert!(matches!(fetched, Event::Fetched { .. }), "{of_layer:?}");
        assert!(matches!(unpacked, Event::Unpacked { .. }), "{of_layer:?}");
    }
    assert_eq!(events[events.len() - 2], Event::Recording);
    let found = summary(&events);
    let bytes: u64 = layers.iter().map(|(_, size)| size).sum();
    assert_eq!((found.layers, found.present, found.bytes), (2, 0, bytes));
    assert!(found.resolve > Duration::ZERO && found.download > Duration::ZERO, "{found:?}");
    assert!(found.to_string().contains("2 layers; manifest "), "{found}");

    // What is here is told as such, and not counted as fetched.
    let more = TestImage::of(&[
        layer(&[dir("./"), file("noise", noise(300_000))]),
        layer(&[file("other", "o")]),
    ]);
    registry.put("r/more", "1", &more);
    let events = pulled(&scratch.store, &format!("{}/r/more:1", registry.address)).await;
    let present = events.iter().filter(|event| matches!(event, Event::Present { .. })).count();
    let found = summary(&events);
    assert_eq!((present, found.layers, found.present), (1, 2, 1));
    assert!(found.to_string().contains("2 layers, 1 of them here before;"), "{found}");
    assert!(scratch.store.pulling().is_empty());
}

/// Waits until a running pull looks so.
async fn until(store: &Store, is: impl Fn(&[Pulling]) -> bool) -> Vec<Pulling> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let now: Vec<Pulling> = store.pulling().iter().map(|one| one.now()).collect();
        if is(&now) {
            return now;
        }
        assert!(std::time::Instant::now() < deadline, "{now:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn is_waiting(pull: &Pulling, on: Wait) -> bool {
    pull.layers.iter().any(|layer| layer.phase == LayerPhase::Waiting(on))
}

#[tokio::test]
async fn a_layer_that_waits_for_another_pull_or_for_its_turn_says_for_which() {
    let (registry, scratch, image) = (TestRegistry::start().await, Scratch::new().await, of_two());
    let Scratch { dir: folder, store } = scratch;
    drop(store);
    let config = Config { downloads_per_registry: 1, ..config(folder.path()) };
    let store = Store::open(config).await.unwrap();
    for tag in ["1", "2"] {
        registry.put("r/i", tag, &image);
    }
    // Both layers: whichever has its turn first keeps it until the gate opens.
    let layers = image.blobs[..2].to_vec();
    let (open, gate) = tokio::sync::watch::channel(false);
    registry.fault(move |seen| {
        let gate = gate.clone();
        let held = move || {
            let mut gate = gate.clone();
            async move { drop(gate.wait_for(|open| *open).await) }
        };
        let wanted = |(digest, _): &&(_, _)| seen.path.ends_with(&Digest::to_string(digest));
        layers.iter().find(wanted).map(|(_, blob)| paced(blob, held))
    });
    let pull = |tag: &str| {
        let (store, name) = (store.clone(), format!("{}/r/i:{tag}", registry.address));
        tokio::spawn(async move { pulled(&store, &name).await })
    };
    let first = pull("1");
    let downloads = |all: &[Pulling]| {
        all.iter().flat_map(|pull| &pull.layers).any(|one| one.phase == LayerPhase::Downloading)
    };
    until(&store, downloads).await;
    let second = pull("2");
    let both = |on| move |all: &[Pulling]| all.iter().any(|pull| is_waiting(pull, on));
    until(&store, both(Wait::Another)).await;
    until(&store, both(Wait::Registry)).await;
    open.send(true).unwrap();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((summary(&first).present, summary(&second).present), (0, 2));
    until(&store, <[Pulling]>::is_empty).await;
}
