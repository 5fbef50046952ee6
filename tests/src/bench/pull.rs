//! Pull and unpack of a large image: one gzip layer.

use super::Rounds;
use super::subject::{LARGE_HOST, Subject, spec};
use super::table::Table;
use crate::images::{Blob, Config, Format, LayerBlob, Pusher, assemble, digest_of};
use crate::place;
use crate::registry::Registry;
use anyhow::Result;
use flate2::{Compression, GzBuilder};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::RemoveImageRequest;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const REPOSITORY: &str = "large";
const FILES: u64 = 26;
const FILE_BYTES: u64 = 10 << 20;

/// A registry's storage with the large image, made once and kept in the cache.
pub fn storage() -> Result<PathBuf> {
    let folder = place::cache().join("bench/large-1");
    if !folder.exists() {
        let new = folder.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&new)?;
        let registry = Registry::options(&new).start()?;
        let layer = layer()?;
        let config = Config { cmd: &["/none"], ..Config::default() };
        let made = assemble(Format::Oci, &config, &[&layer])?;
        let mut pusher = Pusher::new(registry.address());
        pusher.blob(REPOSITORY, &layer.blob)?;
        pusher.blob(REPOSITORY, &made.config)?;
        let (media, blob) = &made.manifest;
        pusher.manifest(REPOSITORY, "1", media, blob)?;
        drop(registry);
        fs::rename(&new, &folder)?;
    }
    Ok(folder)
}

/// 260 MiB of hexadecimal digits: some 150 MB compressed, as programs compress.
fn layer() -> Result<LayerBlob> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut digits = Digits(0x9e37_79b9_7f4a_7c15);
    for file in 0..FILES {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(FILE_BYTES);
        header.set_mtime(0);
        tar.append_data(&mut header, format!("data-{file}"), (&mut digits).take(FILE_BYTES))?;
    }
    let tar = tar.into_inner()?;
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6));
    gz.write_all(&tar)?;
    Ok(LayerBlob { blob: Blob::new(gz.finish()?), diff_id: digest_of(&tar) })
}

/// xorshift64 in hexadecimal.
struct Digits(u64);

impl Read for Digits {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for chunk in buffer.chunks_mut(16) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            for (at, byte) in chunk.iter_mut().enumerate() {
                *byte = b"0123456789abcdef"[(self.0 >> (4 * at)) as usize & 15];
            }
        }
        Ok(buffer.len())
    }
}

/// Pulls and removes, in turn.
pub async fn run(table: &mut Table, subjects: &[Arc<Subject>], rounds: Rounds) -> Result<()> {
    let image = format!("{LARGE_HOST}/{REPOSITORY}:1");
    for _ in 0..rounds.pulls {
        for (at, subject) in subjects.iter().enumerate() {
            // What the one before left to be written shall not be written now.
            nix::unistd::sync();
            let begin = Instant::now();
            subject.pull(&image).await?;
            table.add("pull: 150 MB in one layer [s]", at, begin.elapsed().as_secs_f64());
            let request = RemoveImageRequest { image: Some(spec(&image)) };
            subject.answer("RemoveImage", subject.client.remove_image(request)).await?;
        }
    }
    Ok(())
}
