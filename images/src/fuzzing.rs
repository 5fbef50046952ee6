//! What the targets in `images/fuzz` call: everything here takes bytes that a registry, an archive
//! or a file of the node's may hold, and panics where a claim does not hold. Compiled for them
//! alone (`--cfg fuzzing`).

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use rrun_sys::xattr;
use tokio::sync::mpsc;

use crate::digest::Digest;
use crate::layer::{Compression, Facts, Feed, Format, Job, erofs, run, sniff};
use crate::platform::HostPlatform;
use crate::reference::Reference;
use crate::registry::{auth, challenge, hosts};
use crate::tar::{Archive, parse_header, parse_records};
use crate::{config, credentials, docker_archive, manifest};

const BLOCK: usize = 512;

/// Reads all entries of a tar archive.
pub fn archive(bytes: &[u8]) {
    let bytes = with_checksums(bytes);
    let mut archive = Archive::new(bytes.as_slice());
    while let Ok(Some(entry)) = archive.next_entry() {
        for segment in entry.sparse.iter().flatten() {
            assert!(
                segment.offset.checked_add(segment.length).is_some_and(|end| end <= entry.size)
            );
        }
    }
}

/// Reads PAX records.
pub fn pax(bytes: &[u8]) {
    let _ = parse_records(bytes);
}

/// Unpacks a layer below `folder`, which is empty and emptied again, in both formats: they agree
/// on what is a layer, and nothing comes to be beside their own folders.
pub fn layer(bytes: &[u8], folder: &Path) {
    let bytes = with_checksums(bytes);
    if sniff(&bytes) != Compression::Plain {
        return;
    }
    let directory = unpack(&bytes, folder, Format::Directory);
    let erofs = unpack(&bytes, folder, Format::Erofs);
    match (&directory, &erofs) {
        (Ok(directory), Ok(erofs)) => {
            assert_eq!(directory.is_opaque, erofs.is_opaque, "hides what is below");
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => {
            panic!("one format refuses it: {error}");
        }
    }
}

/// Unpacks a layer below `folder`, which is empty and emptied again, in both formats: what the kernel
/// shows of the image is what the directory has, and `fsck.erofs` finds nothing wrong with it.
pub fn erofs(bytes: &[u8], folder: &Path) {
    let bytes = with_checksums(bytes);
    if sniff(&bytes) != Compression::Plain {
        return;
    }
    let (directory, image) = (folder.join("directory"), folder.join("image"));
    let both = [(&directory, Format::Directory), (&image, Format::Erofs)].map(|(into, format)| {
        fs::create_dir(into).expect("make the layer's folder");
        run_job(&bytes, into, &folder.join("split"), format)
    });
    if let [Ok(facts), Ok(_)] = both {
        check(&image);
        let mount = erofs::mount(&image).expect("the kernel takes it");
        let mounted = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let of_directory = seen(&directory, &directory, &facts);
        assert_eq!(seen(Path::new(&mounted), Path::new(&mounted), &facts), of_directory);
    }
    for made in fs::read_dir(folder).expect("list the folder") {
        let made = made.expect("list the folder").path();
        match made.is_dir() {
            true => fs::remove_dir_all(&made).expect("remove a layer"),
            false => fs::remove_file(&made).expect("remove a split"),
        }
    }
}

fn check(image: &Path) {
    let index = erofs::index_in(image);
    let archive = index.with_file_name("archive");
    let device = format!("--device={}", archive.display());
    let checked = Command::new("fsck.erofs").arg(device).arg(&index).output();
    let checked = checked.expect("start fsck.erofs");
    let said = String::from_utf8_lossy(&checked.stderr);
    // One that knows no blocks smaller than a page, as Debian 12's, has looked at nothing.
    if said.contains("isn't supported on this platform") {
        return;
    }
    assert!(checked.status.success(), "fsck.erofs: {said}");
}

/// A line for all that is in a tree, hard links told by the first name of theirs.
fn seen(root: &Path, folder: &Path, facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    let mut all: Vec<_> =
        fs::read_dir(folder).expect("list").map(|one| one.expect("list")).collect();
    all.sort_by_key(fs::DirEntry::file_name);
    for one in all {
        let path = one.path();
        let name = path.strip_prefix(root).expect("it is below");
        let meta = one.metadata().expect("stat");
        let implied = facts.implied.iter().any(|implied| Path::new(implied) == name);
        let content = match meta.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).expect("read link")),
            kind if kind.is_file() => Digest::of(&fs::read(&path).expect("read")).to_string(),
            _ => String::new(),
        };
        let size = if meta.is_dir() { (0, 0) } else { (meta.size(), meta.nlink()) };
        // A directory without an entry, and a whiteout, have the time at which they were made.
        let is_whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        let time = if implied || is_whiteout { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        lines.push(format!(
            "{name:?} {:o} {}:{} {:x} {size:?} {time:?} {content} {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            xattrs(&path, &meta)
        ));
        if meta.is_dir() {
            lines.extend(seen(root, &path, facts));
        }
    }
    lines
}

/// Of what can be opened: those that the seeds have, and what hides a directory.
fn xattrs(path: &Path, meta: &fs::Metadata) -> Vec<Option<Vec<u8>>> {
    if !meta.is_file() && !meta.is_dir() {
        return Vec::new();
    }
    let file = fs::File::open(path).expect("open");
    let names = [c"trusted.overlay.opaque", c"security.capability", c"user.a"];
    names.map(|name| xattr::get(&file, name).expect("read an attribute")).to_vec()
}

fn unpack(bytes: &[u8], folder: &Path, format: Format) -> Result<Facts, crate::Error> {
    let (inside, split) = (folder.join("layer"), folder.join("split"));
    fs::create_dir(&inside).expect("make the layer's folder");
    let done = run_job(bytes, &inside, &split, format);
    fs::remove_dir_all(&inside).expect("remove the layer's folder");
    let _ = fs::remove_file(&split);
    let others = fs::read_dir(folder).expect("list the folder").count();
    assert_eq!(others, 0, "something is beside the layer");
    done
}

fn run_job(
    bytes: &[u8],
    inside: &Path,
    split: &Path,
    format: Format,
) -> Result<Facts, crate::Error> {
    let job = Job {
        diff_id: Digest::of(bytes),
        folder: inside.to_owned(),
        split: split.to_owned(),
        format,
        most: u64::MAX,
    };
    let (feed, fed) = mpsc::channel(2);
    feed.try_send(Feed::Piece(bytes.to_vec().into())).expect("there is room");
    feed.try_send(Feed::End).expect("there is room");
    run(&job, fed)
}

/// Parses a manifest or an index, and chooses of it.
pub fn document(bytes: &[u8]) {
    let Ok(document) = manifest::parse(bytes) else { return };
    let manifest::Document::Index(entries) = document else { return };
    let node = HostPlatform::here();
    let _ = manifest::choose(&entries, &node).map(|chosen| assert!(!chosen.is_empty()));
}

/// Parses the config of an image.
pub fn config(bytes: &[u8]) {
    let _ = config::parse(bytes);
}

/// Parses the `manifest.json` of a docker archive.
pub fn docker_archive(bytes: &[u8]) {
    let _ = docker_archive::parse(bytes);
}

/// Parses a reference. What it is called is a reference, and the same one.
pub fn reference(text: &str) {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let again: Reference = reference.to_string().parse().expect("its own name");
    assert_eq!(again, reference);
    assert!(!reference.repository().split('/').any(|part| part.is_empty() || part == ".."));
}

/// Parses a `WWW-Authenticate` header.
pub fn challenge(text: &str) {
    let _ = challenge::parse(text);
}

/// Parses a `hosts.toml`.
pub fn hosts(text: &str) {
    let _ = hosts::parse(text, Path::new("/etc/rrun/certs.d/registry.test"), "registry.test");
}

/// Parses what a token server answers.
pub fn token(bytes: &[u8]) {
    let _ = auth::parse_token(bytes);
}

/// Decodes the `auth` of credentials.
pub fn auth(text: &str) {
    let auth = text.to_owned();
    let _ = credentials::Credentials { auth, ..Default::default() }.secret();
}

/// Every header gets the checksum that it should have: bytes made at random have none that is
/// right, and nothing behind it would be read.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut archive = bytes.to_vec();
    let mut at = 0usize;
    while let Some(header) = archive.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<BLOCK>())
    {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = parse_header(header).ok().flatten().map_or(0, |header| header.size);
        let Ok(size) = usize::try_from(size.div_ceil(BLOCK as u64)) else { break };
        let next = size.checked_mul(BLOCK).and_then(|size| size.checked_add(at + BLOCK));
        let Some(next) = next else { break };
        at = next;
    }
    archive
}
