//! A store of EROFS images where the kernel mounts none: their files are on a tmpfs by now.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::support::layer::{dir, file, layer};
use super::support::{Scratch, TestImage, import};
use super::*;
use rrun_images::{Check, Config, LayerState, Layers, Rootfs, fsck};
use rrun_sys::mount::overlay;

/// A store with one image of two layers, that are images of EROFS; none where the host has none.
async fn filled() -> Option<(tempfile::TempDir, Image)> {
    let Scratch { dir: folder, store } = Scratch::new().await;
    drop(store);
    let store = Store::open(erofs(folder.path())).await.unwrap();
    let scratch = Scratch { dir: folder, store };
    let below = layer(&[dir("srv").mode(0o750).owner(3, 4), file("base", "b"), file("gone", "g")]);
    let above = layer(&[file("top", "t"), file(".wh.gone", "")]);
    let image = import(&scratch, &TestImage::of(&[below, above])).await.unwrap();
    if scratch.images() == 0 {
        println!("skipped: this host cannot mount EROFS images");
        return None;
    }
    assert_eq!(scratch.images(), 2);
    Some((scratch.dir, image))
}

impl Scratch {
    /// How many layers are images.
    fn images(&self) -> usize {
        let layers = self.root().join("layers");
        self.names("layers").iter().filter(|name| layers.join(name).join("index").exists()).count()
    }
}

fn erofs(folder: &Path) -> Config {
    Config { layers: Layers::Auto, ..config(folder) }
}

/// Copies the store to a file system of another kind.
fn moved(from: &Path, to: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir_in(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join("images")).arg(to.path()).status();
    assert!(copied.unwrap().success());
    to
}

fn on_tmpfs(from: &Path) -> tempfile::TempDir {
    moved(from, Path::new("/dev/shm"))
}

fn names(rootfs: &Rootfs) -> Vec<String> {
    let lower: Vec<_> = rootfs.lower.iter().map(|one| one.open().unwrap()).collect();
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let mount = overlay(&lower, None, Lower::options(&rootfs.lower)).unwrap();
    let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let names = std::fs::read_dir(root).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn bytes(store: &Store) -> u64 {
    store.disk_usage().await.unwrap()[0].layers.iter().map(|layer| layer.bytes).sum()
}

#[tokio::test]
async fn layers_that_cannot_be_mounted_any_more_are_unpacked_beside_their_archives_once() {
    let Some((before, image)) = filled().await else { return };
    let folder = on_tmpfs(before.path());
    let store = Store::open(erofs(folder.path())).await.unwrap();
    let counted = bytes(&store).await;
    let prepared = ["a", "b", "c", "d"].map(|name| {
        let (store, id) = (store.clone(), image.id.clone());
        tokio::spawn(async move { store.prepare(&holder(name), &id).await.unwrap() })
    });
    let mut numbers = BTreeSet::new();
    for rootfs in prepared {
        let rootfs = rootfs.await.unwrap();
        assert_eq!(names(&rootfs), ["base", "srv", "top"]);
        numbers.extend(rootfs.lower.iter().map(|one| std::fs::metadata(one).unwrap().ino()));
        let srv = std::fs::metadata(rootfs.lower[1].join("srv")).unwrap();
        assert_eq!((srv.mode() & 0o7777, srv.uid(), srv.gid()), (0o750, 3, 4));
    }
    assert_eq!(numbers.len(), 2, "unpacked once each");
    assert!(bytes(&store).await > counted);
    drop(store);

    // What another process finds.
    let store = Store::open(erofs(folder.path())).await.unwrap();
    let rootfs = store.prepare(&holder("e"), &image.id).await.unwrap();
    assert!(
        rootfs.lower.iter().all(|one| numbers.contains(&std::fs::metadata(one).unwrap().ino()))
    );
    let found = store.verify(&image.id.to_string()).await.unwrap();
    assert!(found.iter().all(|layer| layer.state == LayerState::Whole), "{found:?}");
    for name in ["a", "b", "c", "d", "e"] {
        store.release(&holder(name)).await.unwrap();
    }
    drop(store);
    let check = || Check { hash: true, containers: Arc::new(|| Ok(BTreeSet::new())), repair: None };
    assert_eq!(fsck(erofs(folder.path()), check()).await.unwrap().findings, []);

    // Where it can be mounted again, it is.
    let back = moved(folder.path(), &std::env::temp_dir());
    let store = Store::open(erofs(back.path())).await.unwrap();
    let rootfs = store.prepare(&holder("f"), &image.id).await.unwrap();
    assert_eq!(names(&rootfs), ["base", "srv", "top"]);
    let disk = std::fs::metadata(back.path()).unwrap().dev();
    assert!(rootfs.lower.iter().all(|one| std::fs::metadata(one).unwrap().dev() != disk));
    store.release(&holder("f")).await.unwrap();
    assert!(store.remove(&image.id.to_string(), Origin::Person).await.unwrap());
    store.empty_trash().await.unwrap();
    assert_eq!(std::fs::read_dir(back.path().join("images/layers")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_of_many_layers_is_planned_and_new_layers_are_directories_there() {
    let Some((before, _)) = filled().await else { return };
    let folder = on_tmpfs(before.path());
    let store = Store::open(erofs(folder.path())).await.unwrap();
    let scratch = Scratch { dir: folder, store };
    // `srv` is described below only: an own layer of directories is planned from the unpacked one.
    let below = layer(&[dir("srv").mode(0o750).owner(3, 4), file("base", "b"), file("gone", "g")]);
    let above = layer(&[file("srv/new", "n")]);
    let image = import(&scratch, &TestImage::of(&[below, above])).await.unwrap();
    let rootfs = scratch.store.prepare(&holder("a"), &image.id).await.unwrap();
    assert_eq!(rootfs.lower.len(), 3);
    let srv = std::fs::metadata(rootfs.lower[0].join("srv")).unwrap();
    assert_eq!((srv.mode() & 0o7777, srv.uid(), srv.gid()), (0o750, 3, 4));
    assert_eq!(scratch.images(), 2, "those that were moved");
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_layer_whose_archive_is_damaged_is_refused_with_both_reasons_and_leaves_nothing() {
    let Some((before, image)) = filled().await else { return };
    let folder = on_tmpfs(before.path());
    for name in std::fs::read_dir(folder.path().join("images/layers")).unwrap() {
        let archive = name.unwrap().path().join("archive");
        let mut bytes = std::fs::read(&archive).unwrap();
        bytes[512] ^= 1;
        std::fs::write(&archive, bytes).unwrap();
    }
    let store = Store::open(erofs(folder.path())).await.unwrap();
    let scratch = Scratch { dir: folder, store };
    for _ in 0..2 {
        let refused = scratch.store.prepare(&holder("a"), &image.id).await.unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("unpack it as a directory, as it cannot be mounted"), "{words}");
        assert!(words.contains("ENOTBLK") && words.contains("digest"), "{words}");
        assert_eq!(refused.kind(), Kind::Invalid);
    }
    scratch.assert_no_debris().await;
}
