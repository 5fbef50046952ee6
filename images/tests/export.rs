//! Images hashed again, mended, and written out as they came.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rrun_images::{Digest, ExportTo, Holder, Image, Kind, LayerState, Store};
use serde_json::{Value, json};
use support::layer::{Item, device, dir, file, hardlink, layer, symlink};
use support::registry::TestRegistry;
use support::{Scratch, TestImage, anonymous, config, reference};

/// Of all that an archive may have.
fn varied() -> Vec<Item> {
    vec![
        dir("./"),
        dir("usr").mode(0o755),
        file("usr/text", "some words"),
        file("usr/empty", ""),
        file("usr/block", vec![7; 512]),
        file("usr/large", (0..700_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()),
        file("usr/long", "x").pax("path", "l".repeat(180)).pax("mtime", "1.25"),
        hardlink("usr/again", "usr/text"),
        symlink("usr/link", "/usr/text"),
        file("usr/link-into/file", "y"),
        symlink("lib", "usr"),
        file("lib/through-a-link", "z"),
        device("usr/null", b'3', 1, 3),
        file("usr/.wh.hidden", ""),
        file("usr/sub/.wh..wh..opq", ""),
    ]
}

/// An image of two layers, pulled.
async fn pulled() -> (TestRegistry, Scratch, Image, [Digest; 2]) {
    let layers = [layer(&varied()), layer(&[file("top", "t")])];
    let ids = [&layers[0], &layers[1]].map(|(tar, _)| Digest::of(tar));
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &TestImage::of(&layers));
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let image = scratch.store.pull(&name, None, None).await.unwrap();
    (registry, scratch, image, ids)
}

async fn states(store: &Store, image: &Image) -> Vec<LayerState> {
    let all = store.verify(&image.id.to_string()).await.unwrap();
    all.into_iter().map(|layer| layer.state).collect()
}

/// A file of a layer in the store.
fn inside(scratch: &Scratch, layer: &Digest, path: &str) -> PathBuf {
    let folder = scratch.root().join("layers").join(layer.hex());
    folder.join(if support::IS_EROFS { "archive" } else { path })
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_layer_is_found_and_it_alone_is_fetched_anew() {
    let (registry, scratch, image, [base, top]) = pulled().await;
    let store = &scratch.store;
    assert_eq!(states(store, &image).await, [LayerState::Whole, LayerState::Whole]);
    let blobs = registry.seen().iter().filter(|seen| seen.path.contains("/blobs/")).count();
    for harm in [
        &(|path: &Path| damage(path)) as &dyn Fn(&Path),
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::write(path, "").unwrap(),
    ] {
        harm(&inside(&scratch, &base, "usr/block"));
        let found = states(store, &image).await;
        assert!(matches!(found[..], [LayerState::Damaged(_), LayerState::Whole]), "{found:?}");
        let id = image.id.to_string();
        store.repair(&id, std::slice::from_ref(&base), &anonymous()).await.unwrap();
        assert_eq!(states(store, &image).await, [LayerState::Whole, LayerState::Whole]);
        let has = fs::read(inside(&scratch, &base, "usr/block")).unwrap();
        assert!(support::IS_EROFS || has == [7; 512]);
    }
    let seen = registry.seen();
    let again = seen.iter().filter(|seen| seen.path.contains("/blobs/")).skip(blobs);
    let top_blob = layer(&[file("top", "t")]).1;
    assert!(again.clone().all(|seen| !seen.path.ends_with(&Digest::of(&top_blob).to_string())));
    assert!(again.count() >= 3);
    assert!(inside(&scratch, &top, "top").exists());
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn what_a_container_has_or_nobody_can_fetch_stays_as_it_was_and_the_error_says_so() {
    let (registry, scratch, image, [base, _]) = pulled().await;
    let store = &scratch.store;
    let text = inside(&scratch, &base, "usr/text");
    damage(&text);
    let holder = Holder::container("c").unwrap();
    store.prepare(&holder, &image.id).await.unwrap();
    let id = image.id.to_string();
    let error = store.repair(&id, std::slice::from_ref(&base), &anonymous()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert!(error.to_string().contains("container/c has it"), "{error}");
    store.release(&holder).await.unwrap();

    registry.fault(|_| Some(support::registry::status(404)));
    let error = store.repair(&id, std::slice::from_ref(&base), &anonymous()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(text.exists(), "it is put back");
    store.prepare(&holder, &image.id).await.unwrap();
    store.release(&holder).await.unwrap();

    let imported = support::import(&scratch, &TestImage::of(&[layer(&[file("f", "f")])])).await;
    let id = imported.unwrap().id.to_string();
    let error = store.repair(&id, &[base], &anonymous()).await.unwrap_err();
    assert!(error.to_string().contains("it was not pulled from a registry"), "{error}");
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn a_layer_that_has_a_path_twice_cannot_be_told_and_is_not_exported() {
    let scratch = Scratch::new().await;
    let twice = layer(&[file("a", "first"), file("a", "second")]);
    let image = support::import(&scratch, &TestImage::of(&[twice])).await.unwrap();
    let to = ExportTo::Folder(scratch.dir.path().join("out"));
    let exported = scratch.store.export(&[image.id.to_string()], to).await;
    if support::IS_EROFS {
        // It has the archive itself.
        assert_eq!(states(&scratch.store, &image).await, [LayerState::Whole]);
        exported.unwrap();
        return;
    }
    assert_eq!(states(&scratch.store, &image).await, [LayerState::Unknown]);
    let error = exported.unwrap_err();
    assert!(error.to_string().contains("it has a path more than once"), "{error}");
    assert_eq!(scratch.names("splits"), [""; 0]);
}

#[tokio::test]
async fn an_exported_image_is_imported_elsewhere_with_its_id_its_names_and_its_layers() {
    let (_registry, scratch, image, ids) = pulled().await;
    scratch.store.tag(&image.tags[0], &reference("other.test/name:2")).await.unwrap();
    let image = scratch.store.find(&image.id.to_string()).await.unwrap().unwrap();
    let folder = scratch.dir.path().join("out");
    let tar = scratch.dir.path().join("out.tar");
    let names = [image.tags[0].clone()];
    let to = ExportTo::Folder(folder.clone());
    scratch.store.export(&names, to).await.unwrap();
    scratch.store.export(&names, ExportTo::Tar(File::create(&tar).unwrap())).await.unwrap();
    let error = scratch.store.export(&names, ExportTo::Folder(folder.clone())).await.unwrap_err();
    assert!(error.to_string().contains("the folder is not empty"), "{error}");
    for id in &ids {
        let blob = fs::read(folder.join("blobs/sha256").join(id.hex())).unwrap();
        assert_eq!(&Digest::of(&blob), id);
    }
    // As an archive of docker save, too: without the index it is one.
    let saved = scratch.dir.path().join("saved");
    let copied = std::process::Command::new("cp").arg("-r").args([&folder, &saved]).status();
    assert!(copied.unwrap().success());
    fs::remove_file(saved.join("index.json")).unwrap();
    for path in [folder, tar, saved] {
        let dir = tempfile::tempdir().unwrap();
        let other = Store::open(config(dir.path())).await.unwrap();
        other.import_layout(&path, None).await.unwrap();
        let found = other.find(&image.id.to_string()).await.unwrap().unwrap();
        assert_eq!((found.tags, found.size), (image.tags.clone(), image.size), "{path:?}");
        assert_eq!(states(&other, &image).await, [LayerState::Whole, LayerState::Whole]);
    }
}

/// A store that has what was exported there, and the image in it.
async fn imported(path: &Path, image: &Image) -> (tempfile::TempDir, Store, Image) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    store.import_layout(path, None).await.unwrap();
    let found = store.find(&image.id.to_string()).await.unwrap().unwrap();
    (dir, store, found)
}

#[tokio::test]
async fn an_image_whose_layers_were_never_compressed_is_exported_as_it_was_pulled_index_and_all() {
    let layers = [layer(&varied()), layer(&[file("top", "t")])].map(|(tar, _)| (tar.clone(), tar));
    let test = TestImage::of(&layers);
    let index = support::index(&[("linux", "s390x", b"{}"), ("linux", "amd64", &test.manifest)]);
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &test);
    registry.put_manifest("r/i", "2", &index);
    let Scratch { dir, store } = Scratch::new().await;
    let by_tag = reference(&format!("{}/r/i:2", registry.address));
    let image = store.pull(&by_tag, None, None).await.unwrap();
    // Records that are made anew have it from their copies.
    drop(store);
    fs::remove_file(dir.path().join("images/records.db")).unwrap();
    let store = Store::open(config(dir.path())).await.unwrap();
    let by_digest = format!("{}/r/i@{}", registry.address, Digest::of(&index));
    assert_eq!(image.digests, std::slice::from_ref(&by_digest));
    let folder = dir.path().join("out");
    let names = [image.tags[0].clone()];
    let done = store.export(&names, ExportTo::Folder(folder.clone())).await.unwrap();
    assert_eq!((&done[0].digest, done[0].lost.len()), (&Digest::of(&index), 0));
    for document in [&index, &test.manifest] {
        let blob = folder.join("blobs/sha256").join(Digest::of(document).hex());
        assert_eq!(&fs::read(blob).unwrap(), document);
    }
    let (_dir, other, found) = imported(&folder, &image).await;
    assert_eq!((&found.tags, &found.digests), (&image.tags, &image.digests));
    // Without a tag it goes by its digest.
    let tag = reference(&found.tags[0]);
    other.untag(&tag).await.unwrap();
    let folder = dir.path().join("again");
    let names = std::slice::from_ref(&by_digest);
    other.export(names, ExportTo::Folder(folder.clone())).await.unwrap();
    let (_dir, _other, found) = imported(&folder, &image).await;
    assert_eq!((found.tags.len(), found.digests), (0, vec![by_digest]));
}

#[tokio::test]
async fn an_image_whose_layers_were_compressed_is_exported_by_another_digest_and_that_is_said() {
    let mut test = TestImage::of(&[layer(&varied())]);
    let mut manifest: Value = serde_json::from_slice(&test.manifest).unwrap();
    manifest["annotations"] = json!({"org.opencontainers.image.revision": "7", "odd": 1});
    test.manifest = serde_json::to_vec(&manifest).unwrap();
    let registry = TestRegistry::start().await;
    registry.put("r/i", "1", &test);
    let scratch = Scratch::new().await;
    let name = reference(&format!("{}/r/i:1", registry.address));
    let image = scratch.store.pull(&name, None, None).await.unwrap();
    let names = [image.tags[0].clone()];
    let folder = scratch.dir.path().join("out");
    let done = scratch.store.export(&names, ExportTo::Folder(folder.clone())).await.unwrap();
    assert_eq!((&done[0].name, &done[0].lost), (&names[0], &image.digests));
    let written = fs::read(folder.join("blobs/sha256").join(done[0].digest.hex())).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written["annotations"], json!({"org.opencontainers.image.revision": "7"}));

    // That one is its digest from then on.
    let (dir, other, found) = imported(&folder, &image).await;
    let by_digest = format!("{}/r/i@{}", registry.address, done[0].digest);
    assert_eq!((&found.tags, &found.digests), (&image.tags, &vec![by_digest]));
    let to = ExportTo::Folder(dir.path().join("again"));
    let again = other.export(&names, to).await.unwrap();
    assert_eq!((&again[0].digest, again[0].lost.len()), (&done[0].digest, 0));
}

#[tokio::test]
async fn an_image_with_a_layer_twice_and_two_images_with_one_layer_are_exported() {
    let base = layer(&[dir("./"), file("base", "b")]);
    let registry = TestRegistry::start().await;
    let scratch = Scratch::new().await;
    let mut names = Vec::new();
    let images = [vec![base.clone(), layer(&[file("x", "x")]), base.clone()], vec![base]];
    for (tag, layers) in ["1", "2"].into_iter().zip(images) {
        registry.put("r/i", tag, &TestImage::of(&layers));
        let name = format!("{}/r/i:{tag}", registry.address);
        scratch.store.pull(&reference(&name), None, None).await.unwrap();
        names.push(name);
    }
    let path = scratch.dir.path().join("both.tar");
    scratch.store.export(&names, ExportTo::Tar(File::create(&path).unwrap())).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let other = Store::open(config(dir.path())).await.unwrap();
    other.import_layout(&path, None).await.unwrap();
    let ids = |all: Arc<[Image]>| all.iter().map(|image| image.id.clone()).collect::<Vec<_>>();
    let here = ids(scratch.store.list().await.unwrap());
    assert_eq!(ids(other.list().await.unwrap()), here);
    assert_eq!(here.len(), 2);
}

#[tokio::test]
async fn what_a_killed_process_was_unpacking_leaves_no_split() {
    let Scratch { dir, store } = Scratch::new().await;
    drop(store);
    let split = dir.path().join("images/splits").join("0".repeat(64));
    fs::write(&split, "half").unwrap();
    Store::open(config(dir.path())).await.unwrap();
    assert!(!split.exists());
}
