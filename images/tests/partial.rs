//! What has come of a layer when its pull ends is where the next one goes on.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::MetadataExt;

use rrun_images::{Digest, Kind, Store};
use support::layer::{dir, file, layer, noise};
use support::registry::{TestRegistry, cut, status, with_header};
use support::{Scratch, TestImage, config, reference};

/// A pull of a layer of more than 4 MiB that ends after 3 MiB, and that with its process.
struct Ended {
    registry: TestRegistry,
    dir: tempfile::TempDir,
    name: rrun_images::Reference,
    digest: Digest,
    size: u64,
}

impl Ended {
    async fn new() -> Ended {
        let image = TestImage::of(&[layer(&[dir("./"), file("noise", noise(4 << 20))])]);
        let (digest, blob) = image.blobs[0].clone();
        let registry = TestRegistry::start().await;
        registry.put("r/i", "1", &image);
        let name = reference(&format!("{}/r/i:1", registry.address));
        let Scratch { dir, store } = Scratch::new().await;
        let wanted = digest.to_string();
        let size = blob.len() as u64;
        let mut asked = 0;
        registry.fault(move |seen| {
            if !seen.path.ends_with(&wanted) {
                return None;
            }
            asked += 1;
            // And then it is not there any more, which ends a pull at once.
            Some(if asked == 1 { cut(&blob, 3 << 20) } else { status(404) })
        });
        let error = store.pull(&name, None, None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        let info = store.fs_info().await.unwrap();
        assert_eq!(info.inodes, 1, "what is kept is counted when the pull has ended");
        drop(store);
        let ended = Ended { registry, dir, name, digest, size };
        ended.registry.fault(|_| None);
        assert_eq!(ended.kept().len(), 1);
        ended
    }

    /// Lengths of what is kept.
    fn kept(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.dir.path().join("images/partial")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
    }

    fn file(&self) -> std::path::PathBuf {
        let name = self.digest.to_string().replace(':', "-");
        self.dir.path().join("images/partial").join(name)
    }

    /// The ranges that a new process asks for, which pulls the image whole.
    async fn pulled(&self) -> Vec<Option<String>> {
        let before = self.registry.seen().len();
        let store = Store::open(config(self.dir.path())).await.unwrap();
        store.pull(&self.name, None, None).await.unwrap();
        assert_eq!(self.kept(), [0; 0], "the layer is here");
        let seen = self.registry.seen().split_off(before);
        let of_layer = seen.into_iter().filter(|s| s.path.ends_with(&self.digest.to_string()));
        of_layer.map(|s| s.range).collect()
    }
}

#[tokio::test]
async fn a_layer_is_asked_for_from_where_an_ended_process_had_come() {
    let ended = Ended::new().await;
    let kept = ended.kept()[0];
    assert!((1 << 20..ended.size).contains(&kept), "{kept}");
    assert_eq!(ended.pulled().await, [Some(format!("bytes={kept}-"))]);
}

#[tokio::test]
async fn what_is_not_what_had_come_costs_a_second_try_from_the_start() {
    for at in [5, (2 << 20) + 5] {
        let ended = Ended::new().await;
        let mut bytes = std::fs::read(ended.file()).unwrap();
        bytes[at] ^= 1;
        std::fs::write(ended.file(), bytes).unwrap();
        assert_eq!(ended.pulled().await.last().unwrap(), &None, "byte {at}");
    }
    // Longer than the layer, and all of it.
    let ended = Ended::new().await;
    std::fs::write(ended.file(), vec![0; 8 << 20]).unwrap();
    assert_eq!(ended.pulled().await, [None]);
    let ended = Ended::new().await;
    let whole = ended.registry.blob(&ended.digest.to_string());
    std::fs::write(ended.file(), whole).unwrap();
    assert!(ended.pulled().await.is_empty(), "nothing is left to ask for");
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_is_no_hindrance() {
    let ended = Ended::new().await;
    let blob = ended.registry.blob(&ended.digest.to_string());
    let wanted = ended.digest.to_string();
    let length = blob.len();
    ended.registry.fault(move |seen| seen.path.ends_with(&wanted).then(|| cut(&blob, length)));
    assert_eq!(ended.pulled().await.len(), 1);
    // One that says that there is no such range.
    let ended = Ended::new().await;
    let wanted = ended.digest.to_string();
    ended.registry.fault(move |seen| {
        let is_meant = seen.path.ends_with(&wanted) && seen.range.is_some();
        is_meant.then(|| with_header(status(416), "content-range", "bytes */1"))
    });
    assert_eq!(ended.pulled().await.last().unwrap(), &None);
}

#[tokio::test]
async fn what_is_kept_and_splits_are_part_of_what_images_take() {
    let ended = Ended::new().await;
    let kept = std::fs::metadata(ended.file()).unwrap().blocks() * 512;
    let store = Store::open(config(ended.dir.path())).await.unwrap();
    let info = store.fs_info().await.unwrap();
    assert_eq!((info.bytes, info.inodes), (kept, 1));
    // Gone by other hands, which the next collection sees.
    std::fs::remove_file(ended.file()).unwrap();
    store.collect().await.unwrap();
    assert_eq!(store.fs_info().await.unwrap().bytes, 0);
    store.pull(&ended.name, None, None).await.unwrap();
    let info = store.fs_info().await.unwrap();
    let splits = ended.dir.path().join("images/splits");
    let split = std::fs::read_dir(splits).unwrap().next().unwrap().unwrap();
    let split = split.metadata().unwrap().len().next_multiple_of(4096);
    // The layer's own folder is no inode of it.
    assert_eq!((info.bytes, info.inodes), (4096 + (4 << 20) + split, 2));
    let usage = store.disk_usage().await.unwrap();
    assert_eq!((usage[0].bytes(), usage[0].exclusive_bytes()), (info.bytes, info.bytes));
}

#[tokio::test]
async fn what_nobody_goes_on_with_is_removed_after_a_day() {
    let ended = Ended::new().await;
    let file = std::fs::File::options().write(true).open(ended.file()).unwrap();
    let hours = |n: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(n * 3600);
    for (age, left) in [(23, 1), (25, 0)] {
        file.set_modified(hours(age)).unwrap();
        let store = Store::open(config(ended.dir.path())).await.unwrap();
        store.collect().await.unwrap();
        assert_eq!(ended.kept().len(), left, "{age} h");
    }
}
