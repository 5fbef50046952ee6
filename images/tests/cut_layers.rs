//! Layers that are cut, and images of very much.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rrun_images::{Holder, Image, Kind, Lower, Origin, Result};
use support::layer::{Item, dir, file, gzip, hardlink, layer, noise, symlink, tar};
use support::registry::{TestRegistry, bytes};
use support::{Scratch, TestImage, reference};

/// Of entries with and without data, and with extensions.
fn varied() -> Vec<Item> {
    vec![
        dir("d"),
        file("d/short", "content"),
        file("d/blocks", noise(1024)),
        file("d/long", noise(1300)),
        file("x", "by another name").pax("path", format!("d/{}", "n".repeat(200))),
        symlink("d/link", "short"),
        hardlink("d/again", "d/short"),
        file("d/empty", ""),
        file("d/sparse", noise(600))
            .pax("GNU.sparse.size", "9000")
            .pax("GNU.sparse.map", "100,600"),
        file("top", noise(20)),
    ]
}

/// Names of files and links, sorted.
fn names(root: &Path) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for folder in [root.to_owned(), root.join("d")] {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            all.push(entry.unwrap().file_name().into_string().unwrap());
        }
    }
    all.sort();
    all
}

async fn import(scratch: &Scratch, tar: &[u8], blob: &[u8]) -> Result<Image> {
    let layout = scratch.dir.path().join("layout");
    TestImage::of(&[(tar.to_vec(), blob.to_vec())]).write_layout(&layout);
    Ok(scratch.store.import_layout(&layout, None).await?.remove(0).image)
}

async fn assert_refused(scratch: &Scratch, done: Result<Image>, what: &str) {
    let Err(error) = done else { panic!("{what} passed") };
    assert_eq!(error.kind(), Kind::Invalid, "{what}: {error}");
    assert!(error.to_string().contains("layer sha256:"), "{what}: {error}");
    for folder in ["layers", "splits", "locks", "partial"] {
        assert_eq!(scratch.names(folder), [""; 0], "{what}: {folder}");
    }
    scratch.assert_no_debris().await;
}

/// What is in the first bytes of the archive: names of whole entries, or nothing if it ends in one.
fn whole_until(items: &[Item], end: usize) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut before = Vec::<u8>::new();
    for item in items {
        let with = tar(std::slice::from_ref(item));
        // The extension's header and data, the entry's header, its data, and not their padding.
        let length = with.len() - 1024;
        let data = item.data.len();
        let header = length - data.next_multiple_of(512);
        let end_of_extension = header - 512;
        let at = end.saturating_sub(before.len());
        if at < header + data {
            let is_between = at == 0 || at == end_of_extension || end <= before.len();
            found.sort();
            return is_between.then_some(found);
        }
        before.extend(&with[..length]);
        let path = item.pax.iter().find(|(key, _)| key == b"path").map(|(_, value)| value);
        let path = String::from_utf8(path.unwrap_or(&item.name).clone()).unwrap();
        found.push(path.rsplit('/').next().unwrap().to_owned());
    }
    found.sort();
    Some(found)
}

#[tokio::test]
async fn an_archive_that_is_cut_anywhere_is_refused_or_whole_up_to_the_entry_that_it_lacks() {
    let items = varied();
    let archive = tar(&items);
    let scratch = Scratch::new().await;
    let mut passed = 0;
    for end in (512..archive.len()).step_by(512) {
        let part = &archive[..end];
        let what = format!("{end} of {}", archive.len());
        // As its config says, and as that of the whole one does.
        let done = import(&scratch, part, part).await;
        match whole_until(&items, end) {
            None => assert_refused(&scratch, done, &what).await,
            Some(expected) => {
                let image = done.unwrap_or_else(|e| panic!("{what}: {e}"));
                let holder = Holder::container("c").unwrap();
                let rootfs = scratch.store.prepare(&holder, &image.id).await.unwrap();
                assert_eq!(names(rootfs.lower.last().unwrap()), expected, "{what}");
                scratch.store.release(&holder).await.unwrap();
                scratch.store.remove(&image.id.to_string(), Origin::Person).await.unwrap();
                scratch.assert_no_debris().await;
                passed += 1;
            }
        }
        let done = import(&scratch, &archive, part).await;
        assert_refused(&scratch, done, &format!("{what}, of the whole one's digest")).await;
    }
    assert!((8..20).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_compressed_layer_that_is_cut_anywhere_is_refused_and_leaves_nothing() {
    let archive = tar(&[varied(), vec![file("more", noise(12_000))]].concat());
    let scratch = Scratch::new().await;
    let half = zstd::encode_all(&archive[..2048], 3).unwrap();
    let frames = [half, zstd::encode_all(&archive[2048..], 3).unwrap()].concat();
    for (how, blob) in [("gzip", gzip(&archive)), ("zstd", frames)] {
        let ends = (512..blob.len()).step_by(512).chain([1, 3, 4, 9, blob.len() - 1]);
        for end in ends {
            let what = format!("{end} of {} by {how}", blob.len());
            let done = import(&scratch, &archive, &blob[..end]).await;
            assert_refused(&scratch, done, &what).await;
        }
    }
}

#[tokio::test]
async fn a_layer_of_which_the_registry_sends_less_is_refused_and_leaves_nothing() {
    let (archive, blob) = layer(&[varied(), vec![file("more", noise(6_000))]].concat());
    let image = TestImage::of(&[(archive, blob.clone())]);
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &image);
    let name = reference(&format!("{}/r/i:1", registry.address));
    let wanted = image.blobs[0].0.to_string();
    let scratch = Scratch::new().await;
    for end in (0..blob.len()).step_by(512) {
        let (part, wanted) = (blob[..end].to_vec(), wanted.clone());
        registry.fault(move |seen| seen.path.ends_with(&wanted).then(|| bytes(&part)));
        let done = scratch.store.pull(&name, None, None).await;
        let told = format!("{end} bytes, not {}", blob.len());
        assert!(done.as_ref().is_err_and(|e| e.to_string().contains(&told)), "{done:?}");
        assert_refused(&scratch, done, &told).await;
    }
    registry.fault(|_| None);
    scratch.store.pull(&name, None, None).await.unwrap();
}

#[tokio::test]
async fn many_distinct_layers_are_pulled_prepared_and_mounted_as_one() {
    const COUNT: usize = 120;
    let layers: Vec<_> =
        (0..COUNT).map(|n| layer(&[file(&format!("f{n}"), n.to_string())])).collect();
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&layers));
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = store.pull(&name, None, None).await.unwrap().id;
    let holder = Holder::container("c").unwrap();
    let rootfs = store.prepare(&holder, &id).await.unwrap();
    assert!(rootfs.lower.len() >= COUNT);
    let open = |path: &Path| fs::File::open(path).unwrap();
    let lower: Vec<_> = rootfs.lower.iter().map(|layer| layer.open().unwrap()).collect();
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let (upper, work) = (open(&rootfs.upper), open(&rootfs.work));
    let changes = Some((upper.as_fd(), work.as_fd()));
    let mount = rrun_sys::mount::overlay(&lower, changes, Lower::options(&rootfs.lower)).unwrap();
    let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
    for n in 0..COUNT {
        let found = fs::read_to_string(format!("{root}/f{n}")).unwrap();
        assert_eq!(found, n.to_string());
    }
    fs::write(format!("{root}/f0"), "changed").unwrap();
    assert_eq!(fs::read_to_string(rootfs.upper.join("f0")).unwrap(), "changed");
    drop(mount);
    store.release(&holder).await.unwrap();
    assert!(store.remove(&id.to_string(), Origin::Person).await.unwrap());
    scratch.assert_no_debris().await;
    assert_eq!(scratch.names("layers"), [""; 0]);
}
