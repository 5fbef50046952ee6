//! The disk as a power cut leaves it, and what must hold of the store on it.

use std::collections::BTreeSet;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use rrun_images::{Check, Config, Digest, Holder, Origin, Store, fsck};

use crate::medium::{BLOCK, Event, Mark};
use crate::mounted::{Ground, mounted_copy};
use crate::script::{Recording, State, World, container, state};
use crate::support::TestImage;

/// Numbers as if by chance, the same each time.
pub struct Dice(pub u64);

impl Dice {
    /// Below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Where the power goes: when some of what came since a flush is on the disk.
struct Cut<'a> {
    ground: &'a Ground,
    world: &'a World,
    recording: &'a Recording<'a>,
    /// So many verbs had begun, and had ended.
    begun: usize,
    ended: usize,
}

/// Cuts the power after each flush that is `chosen`, by the verb that is carried out then, and checks
/// what is there: with nothing of what was written since, and with some of it. Tells how many
/// flushes there were and how many cuts, and what has failed.
pub async fn cut_all(
    ground: &Ground,
    world: &World,
    recording: &Recording<'_>,
    mut chosen: impl FnMut(&str) -> bool,
) -> (usize, usize, Vec<String>) {
    let mut bytes = recording.start.clone();
    let mut dice = Dice(7);
    let mut cut = Cut { ground, world, recording, begun: 0, ended: 0 };
    let (mut count, mut failed) = (0, Vec::new());
    let is_flush = |event: &Event| matches!(event, Event::Flush);
    let epochs: Vec<&[Event]> = recording.events.split(is_flush).collect();
    for (number, since) in epochs.iter().enumerate() {
        for event in *since {
            match event {
                Event::Mark(Mark::Begin(verb)) => cut.begun = verb + 1,
                Event::Mark(Mark::End(verb)) => cut.ended = verb + 1,
                _ => {}
            }
        }
        if cut.begun > 0 && chosen(recording.verbs[cut.begun - 1].name) {
            let some = [10, 50, 90][dice.roll(3) as usize];
            for share in [0, some] {
                let mut there = bytes.clone();
                apply(&mut there, since, || dice.roll(100) < share);
                let checked = AssertUnwindSafe(cut.check(&there)).catch_unwind().await;
                if let Err(panic) = checked {
                    let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    failed.push(format!("{share} of 100 blocks since flush {number}: {said}"));
                }
                count += 1;
            }
        }
        apply(&mut bytes, since, || true);
    }
    (epochs.len() - 1, count, failed)
}

/// Writes those blocks that are lucky.
fn apply(bytes: &mut [u8], events: &[Event], mut is_lucky: impl FnMut() -> bool) {
    for event in events {
        let Event::Write { at, bytes: written } = event else { continue };
        for (number, block) in written.chunks(BLOCK).enumerate() {
            if is_lucky() {
                let at = at + number * BLOCK;
                bytes[at..at + block.len()].copy_from_slice(block);
            }
        }
    }
}

impl Cut<'_> {
    async fn check(&self, bytes: &[u8]) {
        let (world, recording) = (self.world, self.recording);
        let what = format!("{}, {} had ended", recording.verbs[self.begun - 1].name, self.ended);
        let disk = mounted_copy(self.ground, bytes);
        let config = world.config(&disk.at);
        let store = Store::open(config.clone()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        let root = config.root.clone();
        assert!(!root.join("records.db.damaged").exists(), "{what}");
        self.assert_seen(&state(&store).await, &what);
        // What the daemon does that finds a container of another boot: one that was on its way is
        // released, any other stays until it is removed.
        let is_known =
            self.ended > recording.place("prepare") && self.begun <= recording.place("release");
        if !is_known {
            store.release(&container()).await.unwrap();
        }
        assert_clean(&store, &config, is_known, &what).await;
        for folder in ["tmp", "trash"] {
            assert_eq!(names(&root, folder), [""; 0], "{what}: {folder}");
        }
        let here = assert_reused(world, &store, &root, &what).await;
        assert_clean(&store, &config, is_known, &what).await;
        assert_removed(&store, &root, &here, &what).await;
    }

    /// What is shown is what one of the verbs left that may have been the last one on the disk.
    fn assert_seen(&self, seen: &State, what: &str) {
        let Recording { verbs, states, .. } = self.recording;
        let durable = (0..self.ended).rev().find(|verb| verbs[*verb].is_durable);
        let may_be = &states[durable.unwrap_or(0)..self.begun];
        let is_empty = durable.is_none() && seen.is_empty();
        assert!(is_empty || may_be.contains(seen), "{what}: {seen:?}, not one of {may_be:?}");
    }
}

pub fn names(root: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// All images are whole, and nothing else is wrong with the store.
pub async fn assert_clean(store: &Store, config: &Config, is_known: bool, what: &str) {
    store.empty_trash().await.unwrap();
    let known: BTreeSet<String> = is_known.then(|| "c".to_owned()).into_iter().collect();
    let containers = Arc::new(move || Ok(known.clone()));
    let check = Check { hash: true, containers, repair: None };
    let report = fsck(config.clone(), check).await.unwrap();
    assert_eq!(report.findings, [], "{what}");
}

/// The next pull fetches the layers that are not there, and no other.
/// Tells which were there.
pub async fn assert_reused(world: &World, store: &Store, root: &Path, what: &str) -> Vec<String> {
    let here: BTreeSet<String> = names(root, "layers").into_iter().collect();
    let before = world.registry.seen().len();
    let image = world.pull(store, "large").await.unwrap();
    let seen = world.registry.seen().split_off(before);
    for ((digest, _), key) in world.large.blobs.iter().zip(keys(&world.large)) {
        let fetched = seen.iter().any(|one| one.path.ends_with(&digest.to_string()));
        assert!(!(fetched && here.contains(&key)), "{what}: layer {key} was here");
    }
    let holder = Holder::container("d").unwrap();
    let rootfs = store.prepare(&holder, &image.id).await.unwrap();
    assert!(rootfs.lower.iter().all(|folder| folder.is_dir()), "{what}");
    store.release(&holder).await.unwrap();
    let of_image = keys(&world.large);
    here.into_iter().filter(|key| !of_image.contains(key)).collect()
}

/// The names of an image's layers in the store.
fn keys(image: &TestImage) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_slice(&image.blobs.last().unwrap().1).unwrap();
    let ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().parse::<Digest>().unwrap().hex().to_owned()).collect()
}

/// When all is removed, nothing is left but layers that were there for the next try of a pull.
pub async fn assert_removed(store: &Store, root: &Path, kept: &[String], what: &str) {
    store.release(&container()).await.unwrap();
    for image in store.list().await.unwrap().iter() {
        store.remove(&image.id.to_string(), Origin::Person).await.unwrap();
    }
    store.empty_trash().await.unwrap();
    for folder in ["layers", "splits", "records", "writable", "tmp", "trash", "partial", "locks"] {
        let mut left = names(root, folder);
        if ["layers", "splits", "locks"].contains(&folder) {
            left.retain(|name| !kept.contains(name));
        }
        assert_eq!(left, [""; 0], "{what}: {folder}");
    }
}
