//! What the targets in `images/fuzz` call: everything here takes bytes that a registry, an archive
//! or a file of the node's may hold, and panics where a claim does not hold. Compiled for them
//! alone (`--cfg fuzzing`).

use std::fs;
use std::path::Path;

use tokio::sync::mpsc;

use crate::digest::Digest;
use crate::layer::{Compression, Facts, Feed, Format, Job, run, sniff};
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

fn unpack(bytes: &[u8], folder: &Path, format: Format) -> Result<Facts, crate::Error> {
    let (inside, split) = (folder.join("layer"), folder.join("split"));
    fs::create_dir(&inside).expect("make the layer's folder");
    let job = Job {
        diff_id: Digest::of(bytes),
        folder: inside.clone(),
        split: split.clone(),
        format,
        most: u64::MAX,
    };
    let (feed, fed) = mpsc::channel(2);
    feed.try_send(Feed::Piece(bytes.to_vec().into())).expect("there is room");
    feed.try_send(Feed::End).expect("there is room");
    let done = run(&job, fed);
    fs::remove_dir_all(&inside).expect("remove the layer's folder");
    let _ = fs::remove_file(&split);
    let others = fs::read_dir(folder).expect("list the folder").count();
    assert_eq!(others, 0, "something is beside the layer");
    done
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
