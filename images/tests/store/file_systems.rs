//! Layers as file systems: what tells their files apart, whose pages they are, and whose ids.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::mount_points::in_container;
use super::support::layer::{dir, file, layer};
use super::support::{IS_EROFS, Scratch, TestImage, import};
use super::*;
use rrun_images::{Check, Config, ExportTo, LayerState, Layers, fsck};
use rrun_sys::mount::{MountAttr, clone_tree, overlay, set_attributes};

#[tokio::test]
async fn files_are_of_their_folders_device_and_keep_their_numbers_when_they_are_changed() {
    let layers = [
        vec![dir("./"), dir("srv"), file("srv/bottom", "b"), file("etc/hosts", "h")],
        vec![file("srv/top", "t")],
    ];
    let script = "find . -printf '%D\\n' | sort -u | wc -l; cd srv
        for name in bottom top; do stat -c %i $name; echo more >>$name; stat -c %i $name; done |
        uniq -c | sed 's/^ *\\([0-9]*\\) .*/\\1/'";
    let (found, changed) = in_container(&layers, script).await;
    assert_eq!(found, "1\n2\n2\n");
    assert_eq!(changed, ["srv"]);
}

fn devices(lower: &[Lower]) -> Vec<u64> {
    lower.iter().map(|layer| std::fs::metadata(layer).unwrap().dev()).collect()
}

#[tokio::test]
async fn all_who_need_a_layer_at_a_time_have_one_mount_of_it_and_its_pages_in_common() {
    let scratch = Scratch::new().await;
    let image = import(&scratch, &TestImage::of(&[base(), top("t")])).await.unwrap();
    let rootfs = scratch.store.prepare(&holder("a"), &image.id).await.unwrap();
    let Scratch { dir, store } = scratch;

    // As each `rrun` opens it.
    let second = Store::open(config(dir.path())).await.unwrap();
    let other = second.prepare(&holder("b"), &image.id).await.unwrap();
    assert_eq!(devices(&other.lower), devices(&rootfs.lower));

    // It is theirs, and nobody else's.
    let before = devices(&rootfs.lower);
    drop((store, rootfs));
    assert_eq!(devices(&other.lower), before);
    let third = Store::open(config(dir.path())).await.unwrap();
    let found = third.prepare(&holder("c"), &image.id).await.unwrap();
    let text = |rootfs: &rrun_images::Rootfs| {
        std::fs::read_to_string(rootfs.lower.last().unwrap().join("base")).unwrap()
    };
    assert_eq!((text(&found), text(&other)), ("b".to_owned(), "b".to_owned()));
}

#[tokio::test]
async fn a_note_of_a_mount_that_leads_elsewhere_is_as_none() {
    let scratch = Scratch::new().await;
    let image = import(&scratch, &TestImage::of(&[base(), top("t")])).await.unwrap();
    let rootfs = scratch.store.prepare(&holder("a"), &image.id).await.unwrap();
    let folders = scratch.names("layers");
    let Scratch { dir, store } = scratch;
    let layers = dir.path().join("images/layers");
    let other = std::fs::File::open(&rootfs.lower[0]).unwrap();
    let somewhere = std::fs::File::open("/").unwrap();
    let us = std::process::id();
    let notes = [
        // Another layer, no image, nobody, no descriptor, no note.
        format!("{us} {}", other.as_raw_fd()),
        format!("{us} {}", somewhere.as_raw_fd()),
        format!("{} 3", u32::MAX),
        format!("{us} 1000000"),
        "../../1 2".to_owned(),
        String::new(),
    ];
    for note in notes {
        for folder in &folders {
            let folder = std::fs::File::open(layers.join(folder)).unwrap();
            rrun_sys::xattr::set(&folder, c"trusted.rrun.mounted", note.as_bytes()).unwrap();
        }
        let second = Store::open(config(dir.path())).await.unwrap();
        let found = second.prepare(&holder("a"), &image.id).await.unwrap();
        let names: Vec<bool> = found.lower.iter().map(|one| one.join("base").exists()).collect();
        assert_eq!(names, [false, true], "{note:?}");
        assert!(found.lower[0].join("t").exists(), "{note:?}");
    }
    drop(store);
}

/// A user namespace whose root is the host's 100000.
fn user_namespace() -> (std::process::Child, std::fs::File) {
    let mut command = Command::new("unshare");
    let command = command.args(["--user", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It is in its namespace when it answers.
    use std::io::{Read, Write};
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", child.id()), "0 100000 65536\n").unwrap();
    }
    let namespace = std::fs::File::open(format!("/proc/{}/ns/user", child.id())).unwrap();
    (child, namespace)
}

#[tokio::test]
async fn a_user_namespace_has_the_files_of_an_image_as_its_own_without_a_chown() {
    let scratch = Scratch::new().await;
    let image = import(&scratch, &TestImage::of(&[base(), top("t")])).await.unwrap();
    let rootfs = scratch.store.prepare(&holder("c"), &image.id).await.unwrap();
    let (mut child, namespace) = user_namespace();
    let mapped = |layer: &Lower| {
        let layer = std::fs::File::open(layer).unwrap();
        let copy = clone_tree(layer.as_fd(), c"", false).unwrap();
        let idmap = MountAttr {
            set: nix::libc::MOUNT_ATTR_IDMAP,
            userns: namespace.as_raw_fd() as u64,
            ..MountAttr::default()
        };
        set_attributes(copy.as_fd(), c"", &idmap, false).unwrap();
        copy
    };
    let lower: Vec<OwnedFd> = rootfs.lower.iter().map(mapped).collect();
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let open = |path: &std::path::Path| std::fs::File::open(path).unwrap();
    let (upper, work) = (open(&rootfs.upper), open(&rootfs.work));
    let changes = Some((upper.as_fd(), work.as_fd()));
    let mount = overlay(&lower, changes, Lower::options(&rootfs.lower)).unwrap();
    let owner = |name: &str| {
        let path = format!("/proc/self/fd/{}/{name}", mount.as_raw_fd());
        let found = std::fs::metadata(path).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(owner("base"), (100_000, 100_000));
    assert_eq!(owner("srv"), (100_003, 100_004));
    if IS_EROFS {
        // The layer itself is as it was.
        let found = std::fs::metadata(rootfs.lower.last().unwrap().join("srv")).unwrap();
        assert_eq!((found.uid(), found.gid()), (3, 4));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn an_image_of_layers_of_both_kinds_is_as_any_other() {
    let (lower, upper) = (base(), layer(&[file("top", "t"), file(".wh.base", "")]));
    for (first, then) in [(Layers::Directory, Layers::Erofs), (Layers::Erofs, Layers::Directory)] {
        let scratch = Scratch::new().await;
        let Scratch { dir, store } = scratch;
        drop(store);
        let config = |layers| Config { layers, ..config(dir.path()) };
        let store = Store::open(config(first)).await.unwrap();
        let below = import_into(&store, dir.path(), std::slice::from_ref(&lower)).await;
        drop(store);
        let store = Store::open(config(then)).await.unwrap();
        let both = import_into(&store, dir.path(), &[lower.clone(), upper.clone()]).await;
        let kinds: BTreeSet<bool> = [&lower, &upper]
            .map(|(tar, _)| dir.path().join("images/layers").join(Digest::of(tar).hex()))
            .map(|folder| folder.join("archive").is_file())
            .into();
        assert_eq!(kinds.len(), 2, "one of each");

        let rootfs = store.prepare(&holder("c"), &both.id).await.unwrap();
        let lower: Vec<_> =
            rootfs.lower.iter().map(|path| std::fs::File::open(path).unwrap()).collect();
        let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
        let mount = overlay(&lower, None, Lower::options(&rootfs.lower)).unwrap();
        let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let mut names: Vec<_> = std::fs::read_dir(&root).unwrap().flatten().collect();
        names.sort_by_key(|entry| entry.file_name());
        let names: Vec<_> = names.iter().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["srv", "tmp", "top"]);
        drop(mount);

        for image in [&below, &both] {
            let found = store.verify(&image.id.to_string()).await.unwrap();
            assert!(found.iter().all(|layer| layer.state == LayerState::Whole), "{found:?}");
        }
        let usage = store.disk_usage().await.unwrap();
        let shared = |image: &Image| {
            let found = usage.iter().find(|usage| usage.id == image.id).unwrap();
            found.layers.iter().map(|layer| (layer.bytes > 0, layer.users)).collect::<Vec<_>>()
        };
        assert_eq!(shared(&both).first(), shared(&below).first());
        let tar = std::fs::File::create(dir.path().join("all.tar")).unwrap();
        store.export(&[both.id.to_string()], ExportTo::Tar(tar)).await.unwrap();
        store.release(&holder("c")).await.unwrap();
        drop(store);
        let containers = Arc::new(|| Ok(BTreeSet::new()));
        let check = Check { hash: true, containers, repair: None };
        assert_eq!(fsck(config(then), check).await.unwrap().findings, []);
    }
}

async fn import_into(
    store: &Store,
    folder: &std::path::Path,
    layers: &[(Vec<u8>, Vec<u8>)],
) -> Image {
    let layout = folder.join("layout");
    TestImage::of(layers).write_layout(&layout);
    store.import_layout(&layout, None).await.unwrap().remove(0).image
}
