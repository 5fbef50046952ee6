//! One program and the same files in few layers and in many.

use super::shapes::{Made, Part, make, once};
use crate::images::{Config, Format, LayerFacts, Pusher, Sources, assemble_of, reads};
use crate::place;
use crate::registry::Registry;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// How many layers the images have. The lowest has the programs.
pub const LAYERS: [u64; 3] = [2, 8, 40];
/// Where the files are, from all layers.
pub const FOLDER: &str = "/srv/app";
/// What of them an interpreter imports.
pub const LIST: &str = "/srv/modules";

const FILES: u64 = 20_000;
const MEGABYTES: u64 = 120;
/// One of so many files is on the list.
const IMPORTED: usize = 10;

/// An image's name and tag.
pub fn name(layers: u64) -> String {
    format!("layers-{layers}:1")
}

/// A registry's storage with them, made once and kept in the cache.
pub fn storage() -> Result<PathBuf> {
    let folder = place::cache().join("bench/layers-1");
    once(&folder, |new| {
        let storage = new.join("registry");
        fs::create_dir(&storage)?;
        let registry = Registry::options(&storage).start()?;
        let mut pusher = Pusher::new(registry.address());
        LAYERS.into_iter().try_for_each(|layers| push(&mut pusher, new, layers))
    })?;
    Ok(folder.join("registry"))
}

fn push(pusher: &mut Pusher, new: &Path, layers: u64) -> Result<()> {
    let (name, upper) = (format!("layers-{layers}"), layers - 1);
    let (mut facts, mut all) = (Vec::new(), Vec::new());
    for layer in 0..upper {
        let files = FILES * layer / upper..FILES * (layer + 1) / upper;
        let part = Part { folder: &FOLDER[1..], files, megabytes: MEGABYTES / upper };
        let file = new.join("layer");
        let (made, paths) = make(&file, part, layers * 100 + layer)?;
        pusher.file(&name, &made.digest, &file)?;
        fs::remove_file(&file)?;
        facts.push(of(made));
        all.extend(paths.into_iter().map(|path| format!("/{path}\n")));
    }
    let list: String = all.into_iter().step_by(IMPORTED).collect();
    let sources = Sources { debian: place::debian()?, programs: new.to_owned() };
    let lowest = reads(&list).blob(&sources)?;
    pusher.blob(&name, &lowest.blob)?;
    facts.insert(0, lowest.facts());
    let image = assemble_of(Format::Oci, &Config::default(), &facts)?;
    pusher.blob(&name, &image.config)?;
    let (media, blob) = &image.manifest;
    pusher.manifest(&name, "1", media, blob)
}

fn of(made: Made) -> LayerFacts {
    LayerFacts { digest: made.digest, size: made.size, diff_id: made.diff_id }
}
