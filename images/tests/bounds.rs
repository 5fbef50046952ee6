//! What a layer may make its node hold in memory, and how deep its paths may be.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use rrun_images::{Digest, Error, Kind, Origin};
use serde_json::json;
use support::layer::{Item, dir, file, gzip, push};
use support::{Scratch, TestImage, import};

/// As deep as the kernel's longest path goes.
const DEEPEST: usize = 2047;

/// The path of `depth` names, the first of which is `top`, with a slash at its end.
fn deep(top: usize, depth: usize) -> String {
    format!("{top}/{}", "d/".repeat(depth - top.to_string().len()))
}

fn at(path: &str, item: Item) -> Item {
    item.pax("path", path)
}

async fn pull(items: &[Item]) -> Result<Scratch, (Scratch, Error)> {
    let tar = support::layer::tar(items);
    let blob = gzip(&tar);
    pull_raw(tar, blob).await
}

async fn pull_raw(tar: Vec<u8>, blob: Vec<u8>) -> Result<Scratch, (Scratch, Error)> {
    let scratch = Scratch::new().await;
    match import(&scratch, &TestImage::of(&[(tar, blob)])).await {
        Ok(_) => Ok(scratch),
        Err(e) => Err((scratch, e)),
    }
}

/// The layer is over a bound with these words, and nothing of it stays.
async fn assert_refused(done: Result<Scratch, (Scratch, Error)>, words: &str) {
    let (scratch, error) = done.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().ends_with(words), "{error}");
    assert_eq!(scratch.names("layers"), [""; 0]);
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn paths_of_two_thousand_levels_are_unpacked_and_removed() {
    // With a lookup from the root for each name on the way one of the chains takes minutes.
    let chains = (0..4).map(|top| at(&format!("{}f", deep(top, DEEPEST)), file("x", "1")));
    let in_turn = (0..200).map(|n| at(&format!("{}f{n}", deep(n % 4, 2040)), file("x", "1")));
    let items: Vec<Item> = chains.chain(in_turn).collect();
    let scratch = pull(&items).await.ok().unwrap();
    let layers = scratch.names("layers");
    let info = scratch.store.fs_info().await.unwrap();
    let splits = scratch.names("splits").len() as u64;
    let inodes = if support::IS_EROFS { 3 } else { 4 * 2047 + 4 + 200 };
    assert_eq!((layers.len(), info.inodes - splits), (1, inodes));
    // Directories beneath one another, each described: in the layer above as well.
    let each: Vec<Item> = (1..1000).map(|n| at(&"d/".repeat(n), dir("x").mode(0o711))).collect();
    let lower = support::layer::tar(&each);
    let upper = support::layer::tar(&[at(&format!("{}f", "d/".repeat(999)), file("x", ""))]);
    let layers = [lower, upper].map(|tar| (tar.clone(), gzip(&tar)));
    let image = import(&scratch, &TestImage::of(&layers)).await.unwrap();
    assert_eq!(scratch.names("layers").len(), 4);
    assert!(scratch.store.remove(&image.id.to_string(), Origin::Person).await.unwrap());
    scratch.store.empty_trash().await.unwrap();
    assert_eq!(scratch.names("layers").len(), 1);
}

#[tokio::test]
async fn directories_that_no_entry_describes_are_bounded() {
    let chains: Vec<Item> =
        (0..9).map(|top| at(&format!("{}f", deep(top, DEEPEST)), file("x", ""))).collect();
    assert_refused(pull(&chains).await, "too many directories without an entry").await;
}

/// What overlayfs takes.
#[tokio::test]
async fn an_image_of_more_than_500_layers_is_refused_whatever_it_comes_in() {
    let scratch = Scratch::new().await;
    let layers = |count| vec![support::layer::layer(&[dir("./"), file("f", "x")]); count];
    let refused = import(&scratch, &TestImage::of(&layers(501))).await.unwrap_err();
    assert!(refused.to_string().ends_with("501 layers; overlayfs takes 500"), "{refused}");
    import(&scratch, &TestImage::of(&layers(500))).await.unwrap();

    let (layer, _) = layers(1).remove(0);
    let ids = vec![Digest::of(&layer).to_string(); 501];
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids}});
    let entry = json!([{"Config": "c.json", "Layers": vec!["l.tar"; 501]}]);
    let items = [
        file("l.tar", &layer),
        file("c.json", config.to_string()),
        file("manifest.json", entry.to_string()),
    ];
    let path = scratch.dir.path().join("saved.tar");
    std::fs::write(&path, support::layer::tar(&items)).unwrap();
    let refused = scratch.store.import_layout(&path, None).await.unwrap_err();
    assert!(refused.to_string().ends_with("501 layers; overlayfs takes 500"), "{refused}");
}

#[tokio::test]
async fn what_is_held_of_described_directories_is_bounded() {
    // An attribute of nearly 1 MiB on each of them.
    let first = dir("d").pax("SCHILY.xattr.user.a", vec![b'x'; 1_000_000]);
    let extension = support::layer::tar(&[first]);
    let extension = &extension[..extension.len() - 1024 - 512];
    let mut tar = Vec::new();
    for n in 0..70 {
        tar.extend(extension);
        push(&mut tar, &dir(&format!("d{n}")));
    }
    let words = "too many directories, or too large attributes of theirs";
    assert_refused(pull_raw(tar.clone(), tar).await, words).await;
}

#[tokio::test]
async fn the_extension_headers_of_one_entry_are_bounded() {
    let value = vec![b'x'; 1 << 20];
    let one = [file("a", "").pax("comment", &value)];
    let (scratch, error) = pull(&one).await.err().unwrap();
    assert!(error.to_string().contains("extension headers of 1048593 bytes"), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
    scratch.assert_no_debris().await;
    // Many of them before one entry, each below the bound.
    let mut tar = Vec::new();
    let long = Item { kind: b'L', ..file("././@LongLink", vec![b'n'; 600_000]) };
    (0..3).for_each(|_| push(&mut tar, &long));
    push(&mut tar, &file("a", ""));
    let (_, error) = pull_raw(tar.clone(), gzip(&tar)).await.err().unwrap();
    assert!(error.to_string().contains("extension headers of 1200000 bytes"), "{error}");
}

#[tokio::test]
async fn symlinks_that_lead_round_and_round_are_bounded() {
    let turns = "a/../".repeat(300) + "a";
    let items = [dir("a"), support::layer::symlink("l", "x").pax("linkpath", &turns)];
    let items = [&items[..], &[file("l/f", "")]].concat();
    assert_refused(pull(&items).await, "too many turns of symlinks in l").await;
    let chain: Vec<Item> = (0..50)
        .map(|n| support::layer::symlink(&format!("l{n}"), &format!("l{}", n + 1)))
        .chain([file("l0/f", "")])
        .collect();
    assert_refused(pull(&chain).await, "too many symlinks in l0").await;
}
