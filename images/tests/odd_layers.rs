//! Layers as tools of all ages wrote them, which others unpack.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
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

/// Everything below the directory: content of files, targets of links.
fn tree(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_encoded_bytes();
            let name = name.escape_ascii();
            if kind.is_symlink() {
                all.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_dir() {
                all.push(format!("{name}/"));
                folders.push(path);
            } else {
                all.push(format!("{name}: {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

/// What a reader of zstd passes over, by RFC 8878.
fn skippable(number: u8, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_le_bytes();
    [&[0x50 + number, 0x2a, 0x4d, 0x18], &length[..], data].concat()
}

#[tokio::test]
async fn zstd_layers_with_skippable_frames_first_between_and_last_are_read_as_plain_ones() {
    let plain = tar(&[dir("d"), file("d/a", "1"), file("b", noise(5000))]);
    let frame = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let (one, two) = plain.split_at(1536);
    // zstd:chunked: a frame for each file, then its manifest, that of tar-split, and the footer.
    let footer = [&[0; 56][..], b"GNUlInUx"].concat();
    let manifest = skippable(0, &frame(br#"{"version":1,"entries":[]}"#));
    let chunked = [&manifest[..], &skippable(0, &frame(b"split")), &skippable(0, &footer)].concat();
    let cases = [
        ("first", [&skippable(0, b"index")[..], &frame(&plain)].concat()),
        ("first, of the last number and empty", [&skippable(15, b"")[..], &frame(&plain)].concat()),
        ("first, and large", [&skippable(7, &noise(700_000))[..], &frame(&plain)].concat()),
        ("between", [&frame(one)[..], &skippable(3, &noise(300)), &frame(two)].concat()),
        ("zstd:chunked", [&frame(one)[..], &frame(two), &chunked].concat()),
    ];
    for (what, blob) in cases {
        let scratch = Scratch::new().await;
        let root = unpack(&scratch, plain.clone(), blob).await;
        let root = root.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(fs::read(root.join("d/a")).unwrap(), b"1", "{what}");
        assert_eq!(fs::read(root.join("b")).unwrap(), noise(5000), "{what}");
    }
    // One that is cut is no end.
    let cut = [&frame(&plain)[..], &chunked[..chunked.len() - 9]].concat();
    let scratch = Scratch::new().await;
    let error = unpack(&scratch, plain, cut).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    scratch.assert_no_debris().await;
}

#[tokio::test]
async fn an_estargz_layer_is_read_as_a_plain_one_with_its_table_as_a_file() {
    let toc = r#"{"version":1,"entries":[]}"#;
    let files =
        [dir("d"), file("d/a", "1"), file("b", vec![7; 3000]), file(".prefetch.landmark", [15])];
    let mut whole = Vec::new();
    let mut blob = Vec::new();
    for item in &files {
        let mut bytes = Vec::new();
        push(&mut bytes, item);
        blob.extend(gzip(&bytes));
        whole.extend(bytes);
    }
    // The member of the table ends the archive; the last one is empty, and says where that began.
    let table = tar(&[file("stargz.index.json", toc)]);
    let extra = format!("SG\x16\0{:016x}STARGZ", blob.len());
    blob.extend(gzip(&table));
    whole.extend(table);
    let footer = flate2::GzBuilder::new().extra(extra);
    let mut footer = footer.write(Vec::new(), flate2::Compression::none());
    footer.flush().unwrap();
    blob.extend(footer.finish().unwrap());
    let scratch = Scratch::new().await;
    let root = unpack(&scratch, whole, blob).await.unwrap();
    assert_eq!(fs::read(root.join("b")).unwrap(), [7; 3000]);
    let found: Vec<String> =
        tree(&root).into_iter().filter(|line| !line.starts_with("b: ")).collect();
    let landmark = ".prefetch.landmark: \u{f}".to_owned();
    assert_eq!(
        found,
        [landmark, "d/".into(), "d/a: 1".into(), format!("stargz.index.json: {toc}")]
    );
}

#[tokio::test]
async fn names_that_differ_in_case_or_unicode_form_only_are_names_of_different_files() {
    // Composed and not, with a capital that has no small letter, and bytes that are no text.
    let names: [&[u8]; 12] = [
        b"readme",
        b"README",
        b"ReadMe",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b"CAF\xc3\x89",
        b"cafe",
        b"stra\xc3\x9fe",
        b"strasse",
        b"stra\xe1\xba\x9ee",
        b"caf\xe9",
        b"caf\xe8",
    ];
    let named = |before: &[u8], name: &[u8], item: Item| item.pax("path", [before, name].concat());
    let mut lower = vec![dir("./")];
    for (n, name) in names.iter().enumerate() {
        lower.push(named(b"", name, file("x", n.to_string())));
        lower.push(named(b"D-", name, dir("x").mode(0o700 + n as u32)));
        lower.push(named(b"D-", &[name, &b"/f"[..]].concat(), file("x", n.to_string())));
        lower.push(named(b"L-", name, hardlink("x", "").pax("linkpath", name)));
    }
    let upper = [named(b".wh.", names[0], file("x", "")), named(b".wh.", names[4], file("x", ""))];
    let scratch = Scratch::new().await;
    let image = TestImage::of(&[layer(&lower), layer(&upper)]);
    let image = import(&scratch, &image).await.unwrap();
    let rootfs = scratch.store.prepare(&Holder::container("c").unwrap(), &image.id).await.unwrap();
    let path = |name: &[u8]| std::path::PathBuf::from(std::ffi::OsStr::from_bytes(name));
    let [upper, lower] = &rootfs.lower[..] else { panic!("{rootfs:?}") };
    for (n, name) in names.iter().enumerate() {
        let shown = name.escape_ascii().to_string();
        let of = |before: &[u8]| lower.join(path(&[before, name].concat()));
        assert_eq!(fs::read_to_string(of(b"")).unwrap(), n.to_string(), "{shown}");
        assert_eq!(fs::read_to_string(of(b"D-").join("f")).unwrap(), n.to_string(), "{shown}");
        assert_eq!(fs::read_to_string(of(b"L-")).unwrap(), n.to_string(), "{shown}");
        assert_eq!(fs::metadata(of(b"")).unwrap().nlink(), 2, "{shown}");
        assert_eq!(fs::metadata(of(b"D-")).unwrap().mode() & 0o777, 0o700 + n as u32, "{shown}");
        assert_eq!(upper.join(path(name)).symlink_metadata().is_ok(), [0, 4].contains(&n));
    }
    assert_eq!(fs::read_dir(&**lower).unwrap().count(), 3 * names.len());
}

/// Those on the way to a file of an upper layer are on record by their paths.
#[tokio::test]
async fn a_directory_whose_name_is_no_text_is_as_the_layer_below_describes_it() {
    let names = [&b"caf\xe9"[..], b"caf\xe8", b"\xff", b"caf\xc3\xa9"];
    let at = |name: &[u8], item: Item| item.pax("path", name);
    let below =
        names.iter().enumerate().map(|(n, name)| at(name, dir("x").mode(0o700).owner(n as u32, 9)));
    let below: Vec<Item> = [dir("./")].into_iter().chain(below).collect();
    let above = names.map(|name| at(&[name, &b"/f"[..]].concat(), file("x", "")));
    let scratch = Scratch::new().await;
    let image = TestImage::of(&[layer(&below), layer(&above)]);
    let image = import(&scratch, &image).await.unwrap();
    let rootfs = scratch.store.prepare(&Holder::container("c").unwrap(), &image.id).await.unwrap();
    for (n, name) in names.iter().enumerate() {
        let name = std::ffi::OsStr::from_bytes(name);
        let top =
            rootfs.lower.iter().find_map(|layer| fs::metadata(layer.join(name)).ok()).unwrap();
        assert_eq!((top.mode() & 0o777, top.uid(), top.gid()), (0o700, n as u32, 9), "{name:?}");
    }
}

/// As containerd and docker have it: what takes a directory's place takes its content away, and
/// what comes later goes where the link leads, within the layer.
#[tokio::test]
async fn a_directory_that_is_exchanged_for_a_link_leads_nowhere_outside_of_its_layer() {
    let exchange =
        |target: &str| vec![dir("a"), file("a/x", "1"), symlink("a", target), file("a/evil", "2")];
    let up = "../".repeat(30) + "etc";
    let own = format!("/proc/{}/cwd", std::process::id());
    let cases: Vec<(&str, Vec<Item>, Vec<String>)> = vec![
        ("absolute", exchange("/etc"), lines(&["a -> /etc", "etc/", "etc/evil: 2"])),
        ("upwards", exchange(&up), vec![format!("a -> {up}"), "etc/".into(), "etc/evil: 2".into()]),
        ("to the root", exchange("/"), lines(&["a -> /", "evil: 2"])),
        ("above the root", exchange(".."), lines(&["a -> ..", "evil: 2"])),
        (
            "relative, to a directory that is there",
            [vec![dir("b"), file("b/y", "3")], exchange("b")].concat(),
            lines(&["a -> b", "b/", "b/evil: 2", "b/y: 3"]),
        ),
        (
            "by a link of /proc",
            exchange(&own),
            vec![
                format!("a -> {own}"),
                "proc/".into(),
                format!("proc/{}/", std::process::id()),
                format!("proc/{}/cwd/", std::process::id()),
                format!("proc/{}/cwd/evil: 2", std::process::id()),
            ],
        ),
        (
            "below a directory that stays",
            vec![
                dir("d"),
                dir("d/a"),
                file("d/a/x", "1"),
                symlink("d/a", "/etc"),
                file("d/a/evil", "2"),
            ],
            lines(&["d/", "d/a -> /etc", "etc/", "etc/evil: 2"]),
        ),
        (
            "and back",
            [exchange("/etc"), vec![dir("a"), file("a/z", "3")]].concat(),
            lines(&["a/", "a/z: 3", "etc/", "etc/evil: 2"]),
        ),
        (
            "twice",
            [exchange("/etc"), vec![symlink("a", "/usr"), file("a/more", "3")]].concat(),
            lines(&["a -> /usr", "etc/", "etc/evil: 2", "usr/", "usr/more: 3"]),
        ),
        (
            "for a hard link to a link",
            vec![
                symlink("l", "/etc"),
                dir("a"),
                file("a/x", "1"),
                hardlink("a", "l"),
                file("a/evil", "2"),
            ],
            lines(&["a -> /etc", "etc/", "etc/evil: 2", "l -> /etc"]),
        ),
        (
            "with all that may follow",
            [
                exchange("/etc"),
                vec![
                    dir("a/d"),
                    symlink("a/l", "/root"),
                    file("a/l/f", "3"),
                    hardlink("a/h", "a/evil"),
                ],
            ]
            .concat(),
            lines(&[
                "a -> /etc",
                "etc/",
                "etc/d/",
                "etc/evil: 2",
                "etc/h: 2",
                "etc/l -> /root",
                "root/",
                "root/f: 3",
            ]),
        ),
    ];
    for (what, items, expected) in cases {
        let scratch = Scratch::new().await;
        let (tar, blob) = layer(&items);
        let root = unpack(&scratch, tar, blob).await;
        let root = root.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(tree(&root), expected, "{what}");
    }
    let round = [dir("a"), symlink("a", "a"), file("a/evil", "2")];
    let (tar, blob) = layer(&round);
    let scratch = Scratch::new().await;
    let error = unpack(&scratch, tar, blob).await.unwrap_err();
    assert!(error.to_string().ends_with("too many symlinks in a"), "{error}");
    scratch.assert_no_debris().await;
    for folder in ["/etc", "/", "/usr", "/root", "/tmp", "."] {
        for name in ["evil", "evil-in", "more", "z"] {
            assert!(!Path::new(folder).join(name).exists(), "{folder}/{name}");
        }
    }
}

fn lines(all: &[&str]) -> Vec<String> {
    all.iter().map(|line| (*line).to_owned()).collect()
}
