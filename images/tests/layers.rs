//! Layers, good ones and hostile ones, through import and pull alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rrun_images::{Holder, Kind, Lower};
use support::layer::{Item, device, dir, file, hardlink, header, layer, push, seal, symlink, tar};
use support::{Scratch, TestImage, import};

/// The directory of a one-layer image.
async fn unpack(scratch: &Scratch, items: &[Item]) -> Lower {
    unpack_raw(scratch, layer(items)).await
}

async fn unpack_raw(scratch: &Scratch, layer: (Vec<u8>, Vec<u8>)) -> Lower {
    let image = import(scratch, &TestImage::of(&[layer])).await.unwrap();
    let holder = Holder::container(format!("o{}", image.id.digest().hex())).unwrap();
    scratch.store.prepare(&holder, &image.id).await.unwrap().lower.pop().unwrap()
}

fn xattr(path: &Path, name: &std::ffi::CStr) -> Option<Vec<u8>> {
    rrun_sys::xattr::get(std::fs::File::open(path).unwrap(), name).unwrap()
}

#[tokio::test]
async fn hostile_layers_are_refused_by_name_and_leave_nothing() {
    let long = "n".repeat(256);
    let nul = Item { name: b"a/..\0b".to_vec(), ..file("x", "") };
    let cases: Vec<(&str, Vec<Item>)> = vec![
        ("dotdot", vec![file("../evil", "x")]),
        ("dotdot inside", vec![file("a/../../evil", "x")]),
        ("dotdot at the end", vec![dir("a/../..")]),
        ("absolute dotdot", vec![file("/../evil", "x")]),
        ("dotdot dir", vec![dir("..")]),
        ("nul cut to dotdot", vec![nul]),
        ("a loop of symlinks", vec![symlink("a", "b"), symlink("b", "a"), file("a/evil", "x")]),
        ("a symlink to a file", vec![file("f", "x"), symlink("l", "f"), file("l/evil", "x")]),
        ("hard link with dotdot", vec![hardlink("h", "../../etc/passwd")]),
        ("hard link to the host", vec![hardlink("h", "/etc/passwd")]),
        ("hard link through a symlink", vec![symlink("l", "/etc"), hardlink("h", "l/passwd")]),
        ("hard link to a directory", vec![dir("d"), hardlink("h", "d")]),
        ("hard link to nothing", vec![hardlink("h", "nothing")]),
        ("hard link to the root", vec![hardlink("h", "/")]),
        ("whiteout of the parent", vec![dir("d"), file("d/.wh...", "")]),
        ("whiteout of itself", vec![file(".wh..", "")]),
        ("file below a file", vec![file("f", "x"), file("f/evil", "x")]),
        ("root as a file", vec![file("./.", "x")]),
        ("a name too long", vec![file("a", "x").pax("path", &long)]),
        ("a path too long", vec![file("a", "x").pax("path", "d/".repeat(2100))]),
        ("pax dotdot", vec![file("a", "x").pax("path", "../evil")]),
        ("pax link dotdot", vec![hardlink("a", "x").pax("linkpath", "../../etc/passwd")]),
        ("uid beyond the kernel", vec![file("a", "x").pax("uid", "4294967295")]),
        ("negative size", vec![file("a", "x").pax("size", "-1")]),
        ("size beyond the archive", vec![file("a", "x").pax("size", "9999999999")]),
        (
            "a capability that is none",
            vec![file("a", "x").pax("SCHILY.xattr.security.capability", "nonsense")],
        ),
        ("size overflow", vec![file("a", "x").pax("size", "18446744073709551615")]),
        ("unknown type", vec![Item { kind: b'Q', ..file("a", "x") }]),
        (
            "sparse map beyond the file",
            vec![file("a", "abcd").pax("GNU.sparse.size", "10").pax("GNU.sparse.map", "8,4")],
        ),
        (
            "overlapping sparse map",
            vec![file("a", "abcd").pax("GNU.sparse.size", "10").pax("GNU.sparse.map", "0,2,1,2")],
        ),
    ];
    let scratch = Scratch::new().await;
    for (what, items) in &cases {
        let error = import(&scratch, &TestImage::of(&[layer(items)])).await.expect_err(what);
        assert_eq!(error.kind(), Kind::Invalid, "{what}: {error}");
        assert!(error.to_string().contains("layer sha256:"), "{what}: {error}");
        assert_eq!(scratch.names("layers"), [""; 0], "{what}");
        scratch.assert_no_debris().await;
    }
    assert!(!Path::new("/tmp/evil").exists());
    assert!(scratch.store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn broken_archives_are_refused_and_leave_nothing() {
    let good = tar(&[file("a", vec![7; 2000])]);
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    let mut huge_extension = Vec::new();
    push(&mut huge_extension, &file("a", ""));
    let mut long_name = header(&Item { kind: b'L', ..file("././@LongLink", "") });
    long_name[124..136].copy_from_slice(b"77777777777\0");
    seal(&mut long_name);
    huge_extension.extend(long_name);
    let mut cut_gzip = support::layer::gzip(&good);
    cut_gzip.truncate(cut_gzip.len() / 2);
    let cases = [
        ("wrong checksum", bad_sum.clone(), bad_sum),
        ("cut in data", good[..1000].to_vec(), good[..1000].to_vec()),
        ("cut in a header", good[..300].to_vec(), good[..300].to_vec()),
        ("no tar at all", b"hello".repeat(300), b"hello".repeat(300)),
        ("a name of 8 GiB", huge_extension.clone(), huge_extension),
        ("cut gzip", good.clone(), cut_gzip),
        ("gzip that is none", good.clone(), b"\x1f\x8b\x08nonsense".to_vec()),
        ("zstd that is none", good.clone(), b"\x28\xb5\x2f\xfdnonsense".to_vec()),
    ];
    let scratch = Scratch::new().await;
    for (what, tar, blob) in cases {
        let error = import(&scratch, &TestImage::of(&[(tar, blob)])).await.expect_err(what);
        assert_eq!(error.kind(), Kind::Invalid, "{what}: {error}");
        assert_eq!(scratch.names("layers"), [""; 0], "{what}");
        scratch.assert_no_debris().await;
    }
}

#[tokio::test]
async fn whiteouts_become_what_overlayfs_reads_in_any_order() {
    let scratch = Scratch::new().await;
    let root = unpack(
        &scratch,
        &[
            dir("./"),
            file(".wh.gone", ""),
            file("kept", "k"),
            file(".wh.kept", ""),
            file(".wh.later", ""),
            dir("later"),
            dir("first"),
            file(".wh.first", ""),
            file(".wh.under", ""),
            file("under/file", "u"),
            dir("opaque"),
            file("opaque/.wh..wh..opq", ""),
            file("opaque/inside", "i"),
            file(".wh..wh.plnk", ""),
        ],
    )
    .await;
    let gone = root.join("gone").metadata().unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(std::fs::read_to_string(root.join("kept")).unwrap(), "k");
    for name in ["later", "first", "under", "opaque"] {
        let mark = xattr(&root.join(name), c"trusted.overlay.opaque");
        assert_eq!(mark.as_deref(), Some(b"y".as_slice()), "{name}");
    }
    assert!(root.join("under/file").exists() && root.join("opaque/inside").exists());
    assert!(!root.join(".wh..wh.plnk").exists());
}

#[tokio::test]
async fn every_attribute_of_an_entry_arrives() {
    let scratch = Scratch::new().await;
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let deep = format!("{}/deep", "d".repeat(150));
    let root = unpack(
        &scratch,
        &[
            dir("./").mode(0o711).owner(5, 6),
            file("setuid", "s").mode(0o6755).owner(1000, 1001),
            file("capable", "c")
                .mode(0o755)
                .owner(7, 7)
                .pax("SCHILY.xattr.security.capability", capability),
            file("marked", "m")
                .pax("SCHILY.xattr.user.x", "y")
                .pax("SCHILY.xattr.trusted.overlay.redirect", "/"),
            file("big-id", "b").pax("uid", "4000000000").pax("gid", "3000000000"),
            file("when", "w").pax("mtime", "1234567890.123456789"),
            file("x", "long").pax("path", &deep),
            symlink("link", "../../anywhere"),
            hardlink("again", "setuid").mode(0o6755).owner(1000, 1001),
            device("null", b'3', 1, 3).mode(0o666),
            device("loop", b'4', 7, 300),
            device("pipe", b'6', 0, 0),
            dir("sticky").mode(0o1777),
            file("sticky/f", "f"),
            file("twice", "one"),
            file("twice", "two"),
            file("/rooted", "r"),
        ],
    )
    .await;
    let meta = |name: &str| root.join(name).symlink_metadata().unwrap();
    let top = meta("");
    assert_eq!((top.mode() & 0o7777, top.uid(), top.gid()), (0o711, 5, 6));
    let setuid = meta("setuid");
    assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o6755, 1000, 1001));
    assert_eq!((meta("again").ino(), setuid.nlink()), (setuid.ino(), 2));
    let kept = xattr(&root.join("capable"), c"security.capability");
    assert_eq!(kept.as_deref(), Some(capability.as_slice()));
    assert_eq!(xattr(&root.join("marked"), c"user.x").as_deref(), Some(b"y".as_slice()));
    assert_eq!(xattr(&root.join("marked"), c"trusted.overlay.redirect"), None);
    assert_eq!((meta("big-id").uid(), meta("big-id").gid()), (4_000_000_000, 3_000_000_000));
    assert_eq!((meta("when").mtime(), meta("when").mtime_nsec()), (1_234_567_890, 123_456_789));
    assert!(root.join(&deep).exists());
    assert_eq!(std::fs::read_link(root.join("link")).unwrap(), Path::new("../../anywhere"));
    assert_eq!(meta("null").rdev(), nix::sys::stat::makedev(1, 3));
    assert!(meta("loop").file_type().is_block_device());
    assert_eq!(meta("loop").rdev(), nix::sys::stat::makedev(7, 300));
    assert!(meta("pipe").file_type().is_fifo());
    let sticky = meta("sticky");
    assert_eq!((sticky.mode() & 0o7777, sticky.mtime()), (0o1777, 1_000_000_000));
    assert_eq!(std::fs::read_to_string(root.join("twice")).unwrap(), "two");
    assert_eq!(std::fs::read_to_string(root.join("rooted")).unwrap(), "r");
}

#[tokio::test]
async fn sparse_files_of_every_format_have_their_holes() {
    let scratch = Scratch::new().await;
    let mut old = header(&Item { kind: b'S', ..file("old", "abcd") });
    old[257..265].copy_from_slice(b"ustar  \0");
    for (at, text) in [(386, "00000200000\0"), (398, "00000000004\0"), (483, "00000400000\0")] {
        old[at..at + 12].copy_from_slice(text.as_bytes());
    }
    seal(&mut old);
    let mut map = b"1\n65536\n4\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abcd");
    let one_zero = file("GNUSparseFile.1/new", map)
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", "new")
        .pax("GNU.sparse.realsize", "131072");
    let one = file("mid", "abcd").pax("GNU.sparse.size", "131072").pax("GNU.sparse.map", "65536,4");
    let mut bytes = old.to_vec();
    bytes.extend(b"abcd");
    bytes.resize(1024, 0);
    bytes.extend(tar(&[one_zero, one]));
    let root = unpack_raw(&scratch, (bytes.clone(), bytes)).await;
    for name in ["old", "new", "mid"] {
        let content = std::fs::read(root.join(name)).unwrap();
        assert_eq!(content.len(), 131_072, "{name}");
        assert_eq!(&content[65_536..65_540], b"abcd", "{name}");
        assert!(content[..65_536].iter().chain(&content[65_540..]).all(|b| *b == 0), "{name}");
    }
}

#[tokio::test]
async fn plain_gzip_of_many_members_and_zstd_layers_are_one_layer() {
    let scratch = Scratch::new().await;
    let bytes = tar(&[file("f", "same")]);
    let (a, b) = bytes.split_at(700);
    let members = [support::layer::gzip(a), support::layer::gzip(b)].concat();
    let frames = [zstd::encode_all(a, 3).unwrap(), zstd::encode_all(b, 3).unwrap()].concat();
    let mut roots = Vec::new();
    for blob in [bytes.clone(), members, frames] {
        roots.push(unpack_raw(&scratch, (bytes.clone(), blob)).await);
    }
    roots.dedup();
    assert_eq!(roots.len(), 1);
    assert_eq!(std::fs::read_to_string(roots[0].join("f")).unwrap(), "same");
}

/// Everything below the directory, with the content of files and the targets of links.
fn tree(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let name = path.strip_prefix(root).unwrap().display();
            if kind.is_symlink() {
                all.push(format!("{name} -> {}", std::fs::read_link(&path).unwrap().display()));
            } else if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                all.push(format!("{name}: {}", std::fs::read_to_string(&path).unwrap()));
            } else {
                all.push(name.to_string());
            }
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_layer_leads_through_its_own_symlinks_and_never_out() {
    let cases: Vec<(&str, Vec<Item>, &[&str])> = vec![
        (
            "relative",
            vec![dir("real"), symlink("way", "real"), file("way/f", "1")],
            &["real/f: 1", "way -> real"],
        ),
        (
            "absolute",
            vec![dir("run"), dir("var"), symlink("var/run", "/run"), file("var/run/f", "1")],
            &["run/f: 1", "var/run -> /run"],
        ),
        (
            "upwards",
            vec![
                dir("real"),
                dir("a/b"),
                symlink("a/b/way", "../../real"),
                dir("a/b/way/d"),
                file("a/b/way/d/f", "1"),
            ],
            &["a/b/way -> ../../real", "real/d/f: 1"],
        ),
        (
            "climbing above the root",
            vec![symlink("way", "../../../tmp"), file("way/evil", "1")],
            &["tmp/evil: 1", "way -> ../../../tmp"],
        ),
        (
            "to the host",
            vec![symlink("way", "/tmp"), file("way/evil", "1"), device("way/evil-dev", b'3', 1, 3)],
            &["tmp/evil-dev", "tmp/evil: 1", "way -> /tmp"],
        ),
        (
            "dangling, with directories to be made",
            vec![symlink("way", "/nix/store/abc"), file("way/d/f", "1")],
            &["nix/store/abc/d/f: 1", "way -> /nix/store/abc"],
        ),
        (
            "in a chain, through a link of the linked directory",
            vec![dir("d"), symlink("d/up", ".."), symlink("m", "d/up/.."), file("m/evil", "1")],
            &["d/up -> ..", "evil: 1", "m -> d/up/.."],
        ),
        (
            "a link through a link",
            vec![symlink("way", ".."), symlink("way/evil", "x")],
            &["evil -> x", "way -> .."],
        ),
        (
            "whiteouts through a link",
            vec![symlink("way", "/tmp"), file("way/.wh.evil", "")],
            &["tmp/evil", "way -> /tmp"],
        ),
        (
            "a hard link's target through a link",
            vec![file("real/f", "1"), symlink("way", "/real"), hardlink("h", "way/f")],
            &["h: 1", "real/f: 1", "way -> /real"],
        ),
        (
            "a link that another one replaces",
            vec![
                symlink("way", "one"),
                file("way/f", "1"),
                symlink("way", "two"),
                file("way/f", "2"),
            ],
            &["one/f: 1", "two/f: 2", "way -> two"],
        ),
    ];
    for (what, items, want) in cases {
        let scratch = Scratch::new().await;
        assert_eq!(tree(&unpack(&scratch, &items).await), want, "{what}");
    }
    assert!(!Path::new("/tmp/evil").exists() && !Path::new("/tmp/evil-dev").exists());
}

#[tokio::test]
async fn an_opaque_mark_and_an_implied_directory_are_put_where_a_link_leads() {
    let scratch = Scratch::new().await;
    let items = [symlink("way", "/real"), file("way/.wh..wh..opq", ""), file("way/f", "1")];
    let root = unpack(&scratch, &items).await;
    let mark = xattr(&root.join("real"), c"trusted.overlay.opaque");
    assert_eq!(mark.as_deref(), Some(b"y".as_slice()));
}

#[tokio::test]
async fn the_last_entry_of_a_path_wins_in_everything_it_says() {
    let scratch = Scratch::new().await;
    let at = |item: Item, mtime: u64| Item { mtime, ..item };
    let root = unpack(
        &scratch,
        &[
            at(dir("d").mode(0o700).owner(1, 1).pax("SCHILY.xattr.user.a", "1"), 1),
            file("d/in", "in"),
            at(dir("d").mode(0o711).owner(2, 3), 2),
            at(file("f", "first").mode(0o600).pax("SCHILY.xattr.user.a", "1"), 1),
            at(file("f", "second").mode(0o640).owner(4, 5), 2),
            dir("was-dir"),
            file("was-dir/in", "x"),
            file("was-dir", "file"),
            file("was-file", "x"),
            dir("was-file").mode(0o755),
            file("was-file/in", "dir"),
            symlink("was-link", "f"),
            file("was-link", "no link"),
            file("was-plain", "x"),
            symlink("was-plain", "f"),
            device("was-pipe", b'6', 0, 0),
            file("was-pipe", "no pipe"),
            file("linked", "l").mode(0o600),
            hardlink("other", "linked").mode(0o604).owner(6, 7),
            dir("ro").mode(0o555),
            file("ro/in", "ro"),
        ],
    )
    .await;
    let of = |name: &str| {
        let meta = root.join(name).symlink_metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime())
    };
    assert_eq!(of("d"), (0o711, 2, 3, 2));
    assert_eq!(xattr(&root.join("d"), c"user.a"), None);
    assert_eq!(of("f"), (0o640, 4, 5, 2));
    assert_eq!(xattr(&root.join("f"), c"user.a"), None);
    assert_eq!((of("linked").0, of("linked").1, of("other").2), (0o604, 6, 7));
    assert_eq!(of("ro").0, 0o555);
    let want = [
        "d/in: in",
        "f: second",
        "linked: l",
        "other: l",
        "ro/in: ro",
        "was-dir: file",
        "was-file/in: dir",
        "was-link: no link",
        "was-pipe: no pipe",
        "was-plain -> f",
    ];
    assert_eq!(tree(&root), want);
}

#[tokio::test]
async fn attributes_that_the_file_system_refuses_end_no_pull() {
    let scratch = Scratch::new().await;
    let big = "x".repeat(100_000);
    let note = |item: Item| item.pax("SCHILY.xattr.user.note", "n");
    let root = unpack(
        &scratch,
        &[
            note(symlink("link", "/nowhere")),
            note(device("pipe", b'6', 0, 0)),
            note(device("null", b'3', 1, 3)),
            note(file("file", "f")),
            file("large", "l").pax("SCHILY.xattr.user.large", &big),
            file("long", "l").pax(&format!("SCHILY.xattr.user.{}", "n".repeat(300)), "v"),
            file("unknown", "u").pax("SCHILY.xattr.com.example.note", "v"),
            file("bare", "b").pax("SCHILY.xattr.note", "v"),
            dir("dir").pax("SCHILY.xattr.other.note", "v"),
        ],
    )
    .await;
    assert_eq!(xattr(&root.join("file"), c"user.note").as_deref(), Some(b"n".as_slice()));
    let want = [
        "bare: b",
        "file: f",
        "large: l",
        "link -> /nowhere",
        "long: l",
        "null",
        "pipe",
        "unknown: u",
    ];
    assert_eq!(tree(&root), want);
}

#[tokio::test]
async fn an_archive_that_ends_after_its_last_whole_file_is_whole() {
    let whole = tar(&[dir("d"), file("d/a", "content")]);
    let end = whole.len() - 1024;
    let data = end - 512 + "content".len();
    let cases = [
        ("no end blocks", whole[..end].to_vec()),
        ("one end block", whole[..end + 512].to_vec()),
        ("half an end block", whole[..end + 100].to_vec()),
        ("no padding", whole[..data].to_vec()),
        ("half the padding", whole[..data + 100].to_vec()),
        ("something else after the end", [&whole[..], b"tail of something else"].concat()),
        ("a header of more without one", {
            let mut bytes = whole[..end].to_vec();
            bytes.extend(&tar(&[file("x", "").pax("path", "y")])[..1024]);
            bytes
        }),
    ];
    for (what, bytes) in cases {
        let scratch = Scratch::new().await;
        let root = unpack_raw(&scratch, (bytes.clone(), support::layer::gzip(&bytes))).await;
        assert_eq!(tree(&root), ["d/a: content"], "{what}");
    }
}
