//! Names, leases, removal, and what is left after accidents.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod collection;
mod file_systems;
mod implied;
mod mount_points;
mod moved;
mod names;
mod restart;
#[path = "../support/mod.rs"]
mod support;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;

use futures::FutureExt;
use rrun_images::{Digest, Holder, HolderKind, Image, Kind, Lower, Origin, Store};
use support::layer::{Item, dir, file, layer};
use support::registry::TestRegistry;
use support::{Scratch, TestImage, config, reference};

fn base() -> (Vec<u8>, Vec<u8>) {
    layer(&[
        dir("./"),
        dir("tmp/").mode(0o1777),
        dir("srv").mode(0o750).owner(3, 4),
        file("base", "b"),
    ])
}

fn top(name: &str) -> (Vec<u8>, Vec<u8>) {
    layer(&[file(name, name)])
}

/// Two images, pulled, with a layer of their own above one that they share.
async fn two_images(store: &Store) -> [Image; 2] {
    let registry = TestRegistry::start().await;
    let mut pulled = Vec::new();
    for tag in ["1", "2"] {
        registry.put("r/i", tag, &TestImage::of(&[base(), top(tag)]));
        let name = reference(&format!("{}/r/i:{tag}", registry.address));
        pulled.push(store.pull(&name, None, None).await.unwrap());
    }
    pulled.try_into().unwrap()
}

fn holder(name: &str) -> Holder {
    Holder::container(name).unwrap()
}

#[tokio::test]
async fn an_image_is_found_by_every_one_of_its_names_and_removed_under_all() {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[base()]);
    registry.put("r/i", "1", &image);
    registry.put("r/i", "latest", &image);
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let name = format!("{}/r/i", registry.address);
    let id = store.pull(&reference(&format!("{name}:1")), None, None).await.unwrap().id;
    let again = store.pull(&reference(&name), None, None).await.unwrap();
    assert_eq!(again.tags, [format!("{name}:1"), format!("{name}:latest")]);
    assert_eq!(again.digests, [format!("{name}@{}", image.digest())]);
    let hex = id.digest().hex();
    let texts = [
        name.clone(),
        format!("{name}:1"),
        format!("{name}@{}", image.digest()),
        format!("{name}:nonsense@{}", image.digest()),
        id.to_string(),
        hex.to_owned(),
        hex[..12].to_owned(),
        format!("sha256:{}", &hex[..12]),
    ];
    for text in &texts {
        assert_eq!(store.find(text).await.unwrap().map(|i| i.id), Some(id.clone()), "{text}");
    }
    for text in ["", "nothing", "UPPER", "0000", &"0".repeat(64), "sha256:", &format!("{name}:2")] {
        assert!(store.find(text).await.unwrap().is_none(), "{text}");
    }
    let before = store.fs_info().await.unwrap();
    assert!(before.bytes > 0 && before.inodes > 0 && before.mountpoint.is_dir());
    assert!(store.remove(&format!("{name}:1"), Origin::Person).await.unwrap());
    assert!(!store.remove(&format!("{name}:1"), Origin::Person).await.unwrap());
    assert!(store.list().await.unwrap().is_empty());
    store.empty_trash().await.unwrap();
    assert_eq!(store.fs_info().await.unwrap().bytes, 0);
    for folder in ["layers", "records", "locks"] {
        assert_eq!(scratch.names(folder), [""; 0], "{folder}");
    }
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_pull_by_digest_has_no_tag() {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[base()]);
    registry.put("r/i", "1", &image);
    let scratch = Scratch::new().await;
    let text = format!("{}/r/i@{}", registry.address, image.digest());
    let pulled = scratch.store.pull(&reference(&text), None, None).await.unwrap();
    assert_eq!((pulled.tags.len(), pulled.digests), (0, vec![text]));
}

#[tokio::test]
async fn layers_of_a_held_image_stay_until_it_is_released_and_shared_ones_longer() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let [first, second] = two_images(store).await;
    let rootfs = store.prepare(&holder("c"), &first.id).await.unwrap();
    let holders =
        async |image: &Image| store.find(&image.id.to_string()).await.unwrap().unwrap().holders;
    assert_eq!(holders(&first).await, [holder("c")]);
    assert_eq!(holders(&second).await, []);
    assert_eq!(store.prepare(&holder("c"), &second.id).await.unwrap_err().kind(), Kind::Exists);
    store.remove(&first.id.to_string(), Origin::Person).await.unwrap();
    assert!(store.find(&first.id.to_string()).await.unwrap().is_none());
    assert!(rootfs.lower.iter().all(|dir| dir.is_dir()));
    assert_eq!(
        store.prepare(&holder("c"), &first.id).await.unwrap(),
        rootfs,
        "idempotent while held"
    );
    assert_eq!(store.prepare(&holder("d"), &first.id).await.unwrap_err().kind(), Kind::NotFound);
    std::fs::write(rootfs.upper.join("f"), vec![1; 10_000]).unwrap();
    let usage = store.writable_usage(&holder("c")).await.unwrap();
    assert_eq!((usage.bytes, usage.inodes), (12_288, 1));
    store.release(&holder("c")).await.unwrap();
    assert_eq!(scratch.names("writable"), [""; 0]);
    assert_eq!(scratch.names("layers").len(), 2, "those of the other image, the base too");
    assert_eq!(scratch.names("writable"), [""; 0]);
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn equal_layers_and_empty_images_make_lists_that_overlayfs_takes() {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "twice", &TestImage::of(&[base(), top("x"), base(), layer(&[])]));
    registry.put("r/i", "none", &TestImage::of(&[]));
    let hide: [Item; 2] = [file(".wh..wh..opq", ""), file("only", "o")];
    registry.put("r/i", "opaque", &TestImage::of(&[base(), layer(&hide)]));
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let mut counts = Vec::new();
    for tag in ["twice", "none", "opaque"] {
        let name = reference(&format!("{}/r/i:{tag}", registry.address));
        let image = store.pull(&name, None, None).await.unwrap();
        let mut rootfs = store.prepare(&holder(tag), &image.id).await.unwrap();
        counts.push(rootfs.lower.len());
        rootfs.lower.sort();
        rootfs.lower.dedup();
        assert_eq!(rootfs.lower.len(), *counts.last().unwrap());
    }
    assert_eq!(counts, [3, 1, 1]);
}

#[tokio::test]
async fn a_directory_that_a_layer_only_implies_keeps_the_attributes_from_below() {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[base(), layer(&[file("tmp/x", "x"), file("srv/y", "y")])]);
    registry.put("r/i", "1", &image);
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = scratch.store.pull(&name, None, None).await.unwrap().id;
    let rootfs = scratch.store.prepare(&holder("c"), &id).await.unwrap();
    assert_eq!(rootfs.lower.len(), 3);
    let of = |name: &str| {
        let meta = rootfs.lower[0].join(name).metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(of("tmp"), (0o1777, 0, 0));
    assert_eq!(of("srv"), (0o750, 3, 4));
}

#[tokio::test]
async fn two_stores_on_one_folder_fetch_a_layer_once() {
    let registry = TestRegistry::start().await;
    let image = TestImage::of(&[base()]);
    registry.put("r/i", "1", &image);
    let scratch = Scratch::new().await;
    let other = Store::open(config(scratch.dir.path())).await.unwrap();
    let name = reference(&format!("{}/r/i:1", registry.address));
    let (a, b) = tokio::join!(scratch.store.pull(&name, None, None), other.pull(&name, None, None));
    assert_eq!(a.unwrap().id, b.unwrap().id);
    assert_eq!(registry.count(&image.blobs[0].0.to_string()), 1);
}

#[tokio::test]
async fn a_layout_in_a_tar_is_imported_under_its_name() {
    let scratch = Scratch::new().await;
    let path = scratch.dir.path().join("layout.tar");
    write_layout(&path, &TestImage::of(&[base()]), "example.com/a/b:3");
    let images = scratch.store.import_layout(&path, None).await.unwrap();
    assert_eq!(images[0].image.tags, ["example.com/a/b:3"]);
    let named = reference("own/name:1");
    let images = scratch.store.import_layout(&path, Some(&named)).await.unwrap();
    assert_eq!(images[0].names, [named]);
    assert_eq!(images[0].image.tags, ["docker.io/own/name:1", "example.com/a/b:3"]);
}

/// An OCI layout in a tar, with the name that the image is imported under.
fn write_layout(path: &std::path::Path, image: &TestImage, name: &str) {
    let mut index: serde_json::Value = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [support::descriptor(support::OCI_MANIFEST, &image.manifest)],
    });
    index["manifests"][0]["annotations"] = serde_json::json!({"io.containerd.image.name": name});
    let mut items = vec![
        file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        file("index.json", index.to_string()),
        file(&format!("blobs/sha256/{}", image.digest().hex()), &image.manifest),
    ];
    for (digest, bytes) in &image.blobs {
        items.push(file(&format!("./blobs/sha256/{}", digest.hex()), bytes));
    }
    std::fs::write(path, support::layer::tar(&items)).unwrap();
}

#[tokio::test]
async fn overlayfs_mounts_the_prepared_directories_and_shows_the_image() {
    let registry = TestRegistry::start().await;
    let upper = layer(&[
        file(".wh.base", ""),
        dir("srv").mode(0o700),
        file("srv/.wh..wh..opq", ""),
        file("srv/new", "n"),
        file("tmp/implied", "i"),
    ]);
    let lower =
        layer(&[dir("./"), dir("tmp/").mode(0o1777), file("base", "b"), file("srv/old", "o")]);
    registry.put("r/i", "1", &TestImage::of(&[lower, upper]));
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = scratch.store.pull(&name, None, None).await.unwrap().id;
    let rootfs = scratch.store.prepare(&holder("c"), &id).await.unwrap();
    let open = |path: &std::path::Path| std::fs::File::open(path).unwrap();
    let lower: Vec<_> = rootfs.lower.iter().map(|path| open(path)).collect();
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let (upper, work) = (open(&rootfs.upper), open(&rootfs.work));
    let changes = Some((upper.as_fd(), work.as_fd()));
    let options = Lower::options(&rootfs.lower);
    let mount = rrun_sys::mount::overlay(&lower, changes, options).unwrap();
    let script = format!(
        "cd /proc/{}/fd/{} && find . -mindepth 1 | sort | tr '\\n' ' ' && stat -c %a tmp \
         && rm srv/new",
        std::process::id(),
        mount.as_raw_fd()
    );
    let done = std::process::Command::new("sh").args(["-ec", &script]).output().unwrap();
    let words = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(words, "./srv ./srv/new ./tmp ./tmp/implied 1777\n", "{done:?}");
    drop(mount);
    scratch.store.release(&holder("c")).await.unwrap();
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_holder_has_many_images_with_or_without_a_writable_layer_and_others_hold_them_too() {
    let registry = TestRegistry::start().await;
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let mut ids = Vec::new();
    for tag in ["1", "2"] {
        registry.put("r/i", tag, &TestImage::of(&[base(), top(tag)]));
        let name = reference(&format!("{}/r/i:{tag}", registry.address));
        ids.push(store.pull(&name, None, None).await.unwrap().id);
    }
    let volume = Holder::new(HolderKind::Volume, "pod-1.data").unwrap();
    let person = Holder::new(HolderKind::Person, "me").unwrap();
    let rootfs = store.prepare(&holder("c"), &ids[0]).await.unwrap();
    let view = store.view(&holder("c"), &ids[1]).await.unwrap();
    assert_eq!(store.view(&volume, &ids[1]).await.unwrap(), view);
    store.hold(&person, &ids[0]).await.unwrap();
    store.hold(&person, &ids[0]).await.unwrap();
    assert_eq!(store.holders().await.unwrap(), [holder("c"), person.clone(), volume.clone()]);
    assert_eq!(scratch.names("writable"), ["container-c"]);
    assert_eq!(store.let_go(&holder("c"), &ids[0]).await.unwrap_err().kind(), Kind::Exists);
    for id in &ids {
        assert!(store.remove(&id.to_string(), Origin::Person).await.unwrap());
    }
    // The container goes, the others have what they hold.
    store.release(&holder("c")).await.unwrap();
    assert!(rootfs.lower.iter().chain(&view).all(|dir| dir.is_dir()));
    store.let_go(&volume, &ids[1]).await.unwrap();
    assert_eq!(scratch.names("layers").len(), rootfs.lower.len());
    assert!(rootfs.lower.iter().all(|dir| dir.is_dir()));
    store.release(&person).await.unwrap();
    assert_eq!(store.holders().await.unwrap(), []);
    assert_eq!(scratch.names("layers"), [""; 0]);
    scratch.assert_no_debris().await;
    let unknown = store.hold(&person, &ids[0]).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound, "{unknown}");
}

#[tokio::test]
async fn a_view_can_be_mounted_without_a_writable_layer_however_few_layers_there_are() {
    let registry = TestRegistry::start().await;
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let names = |dirs: Vec<Lower>| -> Vec<String> {
        dirs.iter().map(|d| d.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let mut layers = Vec::new();
    for (tag, image) in [("1", TestImage::of(&[base()])), ("0", TestImage::of(&[]))] {
        registry.put("r/i", tag, &image);
        let name = reference(&format!("{}/r/i:{tag}", registry.address));
        let id = store.pull(&name, None, None).await.unwrap().id;
        layers.push(names(store.view(&holder("c"), &id).await.unwrap()));
    }
    // An overlay without an upper directory has two layers at least.
    assert_eq!((layers[0].len(), layers[0][1].as_str()), (2, "empty"));
    assert_eq!(layers[1], ["empty"]);
    store.release(&holder("c")).await.unwrap();
}

#[tokio::test]
async fn an_image_is_used_when_its_holder_is() {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base()]));
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = store.pull(&name, None, None).await.unwrap().id;
    let last = async || store.find(&id.to_string()).await.unwrap().unwrap().last_used;
    let age = || {
        let db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
        db.execute("UPDATE image SET used=1000", []).unwrap();
    };
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    age();
    assert_eq!(last().await, old);
    store.prepare(&holder("c"), &id).await.unwrap();
    assert!(last().await > old, "made");
    age();
    store.used(&holder("other")).await.unwrap();
    assert_eq!(last().await, old);
    store.used(&holder("c")).await.unwrap();
    assert!(last().await > old, "started, or executed in");
    age();
    store.pull(&name, None, None).await.unwrap();
    assert!(last().await > old, "pulled");
}

#[tokio::test]
async fn what_is_removed_is_counted_until_it_is_gone_and_a_process_that_ended_leaves_it_to_the_next()
 {
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&[base()]));
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let id = scratch.store.pull(&name, None, None).await.unwrap().id;
    let before = scratch.store.fs_info().await.unwrap();
    // Whoever has this lock deletes; so nobody does now.
    let trash = std::fs::File::open(scratch.root().join("trash")).unwrap();
    trash.lock().unwrap();
    assert!(scratch.store.remove(&id.to_string(), Origin::Person).await.unwrap());
    assert_eq!(scratch.names("layers"), [""; 0]);
    assert_eq!(scratch.names("trash").len(), 1);
    assert_eq!(scratch.store.fs_info().await.unwrap(), before);
    let next = Store::open(config(scratch.dir.path())).await.unwrap();
    assert_eq!(next.fs_info().await.unwrap(), before);
    drop(trash);
    next.empty_trash().await.unwrap();
    assert_eq!(next.fs_info().await.unwrap().bytes, 0);
    assert_eq!(scratch.names("trash"), [""; 0]);
}

#[tokio::test]
async fn damaged_records_are_not_set_aside_beneath_a_living_process_nor_for_another_fault() {
    let scratch = Scratch::new().await;
    let path = scratch.root().join("records.db");
    // As another process that has them open.
    let other = std::fs::File::open(scratch.root().join("records.lock")).unwrap();
    other.lock_shared().unwrap();
    let Scratch { dir, store } = scratch;
    drop(store);
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    std::fs::write(&path, b"not a database at all".repeat(500)).unwrap();
    let error = Store::open(config(dir.path())).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("another process has them open"), "{error}");
    assert!(!dir.path().join("images/records.db.damaged").exists());
    drop(other);
    Store::open(config(dir.path())).await.unwrap();
    assert!(dir.path().join("images/records.db.damaged").exists());
    // A directory in its place is a fault of the disk, not of the records.
    std::fs::remove_file(dir.path().join("images/records.db.damaged")).unwrap();
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    std::fs::create_dir(&path).unwrap();
    assert!(Store::open(config(dir.path())).await.is_err());
    assert!(path.is_dir() && !dir.path().join("images/records.db.damaged").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_on_locked_records_blocks_no_thread_of_the_runtime() {
    let scratch = Scratch::new().await;
    let mut db = rusqlite::Connection::open(scratch.root().join("records.db")).unwrap();
    let lock = db.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).unwrap();
    let store = scratch.store.clone();
    let removing = tokio::spawn(async move { store.remove("nothing:1", Origin::Person).await });
    // On the one thread that there is: had the call blocked it, this would never come to pass.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(!removing.is_finished());
    drop(lock);
    assert!(!removing.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_new_store_is_opened_by_many_at_once() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let opening = (0..8).map(|_| tokio::spawn(Store::open(config(dir.path()))));
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
    }
}
