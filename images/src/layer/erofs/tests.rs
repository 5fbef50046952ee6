//! The writer, read back by the kernel.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Cursor, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Writer, check, create, mount, open, try_here};
use crate::digest::Digest;
use crate::error::{Kind, Result};
use crate::layer::Facts;
use crate::layer::entries::apply;
use crate::tar::Archive;

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

/// Names and contents as an archive.
fn archive(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o640);
        builder.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn write(folder: &Path, bytes: &[u8]) -> Result<Facts> {
    let mut files = create(folder)?;
    files.archive.write_all(bytes)?;
    files.archive.set_len((bytes.len() as u64).next_multiple_of(4096))?;
    let mut writer = Writer::new(files.index);
    let mut archive = Archive::new(Cursor::new(bytes));
    while let Some(entry) = archive.next_entry()? {
        apply(&mut writer, &entry, &mut archive)?;
    }
    writer.finish(bytes.len() as u64, &Digest::of(bytes))
}

#[test]
fn the_kernel_reads_files_of_every_size_and_finds_each_of_many_names() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 100_000];
    let of = |n: usize| vec![n as u8; sizes[n % sizes.len()]];
    // Names before and after the dots, in directories of many blocks.
    let name = |n: usize| match n % 3 {
        0 => format!("!{n}"),
        1 => format!("some/deep/folder/{}{n}", "n".repeat(n % 200)),
        _ => format!("z{n}"),
    };
    write(dir.path(), &archive((0..3000).map(|n| (name(n), of(n))))).unwrap();
    let image = mount(dir.path()).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", image.as_raw_fd()));
    for n in 0..3000 {
        assert!(std::fs::read(root.join(name(n))).unwrap() == of(n), "{}", name(n));
    }
    let listed = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!(listed(&root), 2001);
    assert_eq!(listed(&root.join("some/deep/folder")), 1000);
    assert!(!root.join("z1").exists());
}

#[test]
fn this_host_can_mount_images() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [tmp, empty] = ["tmp", "empty"].map(|name| dir.path().join(name));
    [&tmp, &empty].iter().for_each(|path| std::fs::create_dir(path).unwrap());
    if let Err(why) = try_here(&tmp, &empty).unwrap() {
        println!("skipped: {why}");
    }
    assert!(std::fs::read_dir(&tmp).unwrap().next().is_none(), "the trial left something");
}

#[test]
fn a_changed_index_is_told_from_the_one_that_was_written() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &archive([("a".to_owned(), b"b".to_vec())])).unwrap();
    let whole = open(dir.path()).unwrap().index;
    check(&whole).unwrap();
    for at in [1024, 1030, 2048, 2070, 4200, 8200] {
        let mut byte = [0];
        whole.read_exact_at(&mut byte, at).unwrap();
        let file = File::options().write(true).open(super::index_in(dir.path())).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert_eq!(check(&whole).unwrap_err().kind(), Kind::Invalid, "byte {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    check(&whole).unwrap();
    File::options().write(true).open(super::index_in(dir.path())).unwrap().set_len(4000).unwrap();
    assert_eq!(check(&whole).unwrap_err().kind(), Kind::Invalid, "cut");
}

#[test]
fn an_image_without_one_of_its_files_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &archive([("a".to_owned(), b"b".to_vec())])).unwrap();
    std::fs::remove_file(dir.path().join("archive")).unwrap();
    let error = mount(dir.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("it is gone"), "{error}");
}
