//! Layers as tools of all ages wrote them, which others unpack.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rrun_images::{Holder, Kind, Lower, Result};
use support::layer::*;
use support::{Scratch, TestImage, import};

async fn unpack(scratch: &Scratch, tar: Vec<u8>, blob: Vec<u8>) -> Result<Lower> {
    let image = import(scratch, &TestImage::of(&[(tar, blob)])).await?;
    let rootfs = scratch.store.prepare(&Holder::container("c")?, &image.id).await?;
    Ok(rootfs.lower.into_iter().next_back().unwrap())
}

async fn unpack_items(items: &[Item], check: impl FnOnce(&Path)) {
    let scratch = Scratch::new().await;
    let (tar, blob) = layer(items);
    check(&unpack(&scratch, tar, blob).await.unwrap());
}

#[tokio::test]
async fn dots_in_a_path_are_taken_out_as_long_as_they_stay_inside() {
    let items = [
        file("usr/bin/../x", "1"),
        hardlink("y", "usr/none/../x"),
        file("z", "").pax("path", "./b/../c/d/../../usr/./z"),
    ];
    unpack_items(&items, |root| {
        assert_eq!(fs::read(root.join("y")).unwrap(), b"1");
        assert!(root.join("usr/z").exists() && !root.join("b").exists());
        assert_eq!(fs::metadata(root.join("usr/x")).unwrap().nlink(), 2);
    })
    .await;
}

#[tokio::test]
async fn files_that_aufs_linked_are_there_and_its_own_folders_are_not() {
    let items = [
        dir(".wh..wh.plnk"),
        file(".wh..wh.plnk/12.34", "data"),
        hardlink("usr/a", ".wh..wh.plnk/12.34"),
        hardlink("usr/b", ".wh..wh.plnk/12.34"),
        file(".wh..wh.aufs", ""),
        dir(".wh..wh.orph"),
        file(".wh..wh.orph/lost", "x"),
    ];
    unpack_items(&items, |root| {
        assert_eq!(fs::read(root.join("usr/b")).unwrap(), b"data");
        assert_eq!(fs::metadata(root.join("usr/a")).unwrap().nlink(), 2);
        let names: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["usr"]);
    })
    .await;
}

#[tokio::test]
async fn what_follows_the_last_member_of_a_gzip_layer_is_left_out() {
    let tar = tar(&[file("x", "1"), file("y", vec![5; 3000])]);
    let (first, rest) = tar.split_at(700);
    let members = [gzip(first), gzip(b""), gzip(rest)].concat();
    for after in [&b""[..], &[0; 700], b"junk", b"\0\x1f\x8b"] {
        let scratch = Scratch::new().await;
        let blob = [&members[..], after].concat();
        let root = unpack(&scratch, tar.clone(), blob).await.unwrap();
        assert_eq!(fs::read(root.join("y")).unwrap(), [5; 3000], "{after:?}");
    }
    let scratch = Scratch::new().await;
    let blob = [&members[..], b"\x1f\x8bnonsense"].concat();
    assert_eq!(unpack(&scratch, tar, blob).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_compression_that_no_registry_has_is_named() {
    for (start, name) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"\xfd7zXZ\0", "xz")] {
        let scratch = Scratch::new().await;
        let error = unpack(&scratch, b"x".to_vec(), start.to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(&format!("compressed with {name}")), "{error}");
        scratch.assert_no_debris().await;
    }
}

#[tokio::test]
async fn headers_of_solaris_and_of_gnu_dumps_are_read() {
    let mut extended = file("pax", "20 mtime=5.00000000\n");
    extended.kind = b'X';
    let mut dump = file("d/", "Yx\0");
    dump.kind = b'D';
    unpack_items(&[extended, file("x", "1"), dump, file("d/x", "2")], |root| {
        assert_eq!(fs::metadata(root.join("x")).unwrap().mtime(), 5);
        assert_eq!(fs::read(root.join("d/x")).unwrap(), b"2");
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_forgotten_and_its_neighbours_are_not() {
    let items = [
        dir("a").mode(0o700),
        dir("a/b").mode(0o711),
        dir("a-b").mode(0o750),
        file("implied/a/x", ""),
        file("a", "now a file"),
        dir("a0").mode(0o700),
        file("implied/a", "and this"),
    ];
    unpack_items(&items, |root| {
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a-b"), mode("a0"), mode("a")), (0o750, 0o700, 0o644));
        assert_eq!(fs::read(root.join("implied/a")).unwrap(), b"and this");
    })
    .await;
}
