//! Directories that a layer implies and lower layers describe.

use std::os::unix::fs::MetadataExt;

use super::support::layer::{Item, dir, file, layer};
use super::support::{Scratch, TestImage, import};

/// What the layer on top of these (bottom first) has, as path, mode and owner; nothing if the image
/// needs none.
async fn on_top(layers: &[Vec<Item>]) -> Vec<(&'static str, u32, u32)> {
    let scratch = Scratch::new().await;
    let image = TestImage::of(&layers.iter().map(|items| layer(items)).collect::<Vec<_>>());
    let image = import(&scratch, &image).await.unwrap();
    let rootfs = scratch.store.prepare(&super::holder("c"), &image.id).await.unwrap();
    if rootfs.lower[0].join("a/b/c/f").exists() {
        return Vec::new();
    }
    let found = |path| {
        let meta = rootfs.lower[0].join(path).metadata().ok()?;
        Some((path, meta.mode() & 0o7777, meta.uid()))
    };
    ["a", "a/b", "a/b/c", "z"].into_iter().filter_map(found).collect()
}

#[tokio::test]
async fn an_implied_directory_shows_what_the_topmost_layer_says_that_is_not_hidden() {
    let base = || {
        let deep = dir("a/b/c").mode(0o700).owner(3, 3);
        vec![dir("./"), dir("a").mode(0o711), dir("a/b"), deep, dir("z").mode(0o700)]
    };
    let top = || vec![file("a/b/c/f", "x")];
    let all = [("a", 0o711, 0), ("a/b", 0o755, 0), ("a/b/c", 0o700, 3)];
    let above = |items: Vec<Item>| [base(), items, top()];
    for (name, items, want) in [
        ("nothing of it", vec![file("other", "x")], all.to_vec()),
        ("implied once more", vec![file("a/b/c/g", "x")], all.to_vec()),
        ("its parent alone", vec![dir("a").mode(0o700)], vec![("a", 0o700, 0), all[1], all[2]]),
        ("a file on the way", vec![dir("a").mode(0o711), file("a/b", "x")], vec![("a", 0o711, 0)]),
        ("a whiteout of it", vec![dir("./"), file("a/b/.wh.c", "")], vec![("a", 0o711, 0)]),
        ("an opaque parent", vec![file("a/b/.wh..wh..opq", "")], vec![("a", 0o711, 0)]),
        ("an opaque root", vec![file(".wh..wh..opq", "")], vec![]),
    ] {
        assert_eq!(on_top(&above(items)).await, want, "{name}");
    }
}
