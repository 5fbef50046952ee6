//! The images as a registry's storage folder, made once for the same inputs.

use super::layer::{LayerBlob, Sources};
use super::{Image, Pusher, catalogue, digest_of, manifest};
use crate::place;
use crate::registry::Registry;
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What became of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Built {
    /// Digest that the tag resolves to: the index.
    pub index: String,
    /// Digest of the manifest for linux/amd64.
    pub manifest: String,
    /// Digest of the config: the image id.
    pub config: String,
    /// Digests of the compressed layers, lowest first.
    pub layers: Vec<String>,
}

/// All test images, ready to be served.
#[derive(Clone, Debug)]
pub struct Store {
    /// Storage root for a docker-registry; not to be written.
    pub storage: PathBuf,
    /// By full reference (`gcr.io/…:tag`).
    pub images: BTreeMap<String, Built>,
}

/// The store in the cache, built first when its inputs are new. Safe from several processes.
pub fn store() -> Result<Store> {
    let debian = place::debian()?;
    let versions = fs::read_to_string(place::cache().join("debian/versions"))?;
    let images = catalogue(&applets(&debian)?);
    // The catalogue names every byte: text and program sources by content, Debian's files by
    // their package's version.
    let key = digest_of(format!("1\n{versions}\n{images:?}").as_bytes());
    let folder = place::cache().join("images").join(&key[7..23]);
    if !folder.exists() {
        build(&images, debian, &folder).context("build the test images")?;
    }
    let index = fs::read(folder.join("images.json"))?;
    Ok(Store { storage: folder.join("registry"), images: serde_json::from_slice(&index)? })
}

/// The names that busybox answers to, asked of the unpacked binary with its own loader.
fn applets(debian: &Path) -> Result<Vec<String>> {
    let libraries = debian.join("lib/x86_64-linux-gnu");
    let output = Command::new(libraries.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&libraries)
        .arg(debian.join("bin/busybox"))
        .arg("--list")
        .output()
        .context("busybox --list")?;
    if !output.status.success() {
        bail!("busybox --list: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn build(images: &[Image], debian: PathBuf, folder: &Path) -> Result<()> {
    let parent = folder.parent().context("no parent folder")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join("lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if folder.exists() {
        return Ok(());
    }
    let new = folder.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    let (programs, storage) = (new.join("programs"), new.join("registry"));
    fs::create_dir_all(&programs)?;
    fs::create_dir_all(&storage)?;
    let registry = Registry::options(&storage).start()?;
    let mut maker = Maker {
        sources: Sources { debian, programs },
        layers: HashMap::new(),
        pusher: Pusher::new(registry.address()),
    };
    let mut built = BTreeMap::new();
    for image in images {
        let made = maker.make(image).with_context(|| image.names.join(" "))?;
        built.extend(image.names.iter().map(|name| (name.clone(), made.clone())));
    }
    drop(registry);
    fs::write(new.join("images.json"), serde_json::to_vec_pretty(&built)?)?;
    fs::rename(&new, folder)?;
    Ok(())
}

struct Maker {
    sources: Sources,
    /// By the layer's description.
    layers: HashMap<String, LayerBlob>,
    pusher: Pusher,
}

impl Maker {
    fn make(&mut self, image: &Image) -> Result<Built> {
        let keys: Vec<_> = image.layers.iter().map(|layer| format!("{layer:?}")).collect();
        for (key, layer) in keys.iter().zip(&image.layers) {
            if !self.layers.contains_key(key) {
                self.layers.insert(key.clone(), layer.blob(&self.sources)?);
            }
        }
        let layers: Vec<_> = keys.iter().map(|key| &self.layers[key]).collect();
        let made = manifest::assemble(image.format, &image.config, &layers)?;
        for name in &image.names {
            let (repository, tag) = split(name)?;
            for blob in layers.iter().map(|layer| &layer.blob).chain([&made.config]) {
                self.pusher.blob(repository, blob)?;
            }
            let (media, blob) = &made.manifest;
            self.pusher.manifest(repository, &blob.digest, media, blob)?;
            let (media, blob) = &made.index;
            self.pusher.manifest(repository, tag, media, blob)?;
        }
        Ok(Built {
            index: made.index.1.digest,
            manifest: made.manifest.1.digest,
            config: made.config.digest,
            layers: layers.iter().map(|layer| layer.blob.digest.clone()).collect(),
        })
    }
}

/// `host/repository:tag` without its host.
fn split(name: &str) -> Result<(&str, &str)> {
    let path = name.split_once('/').map(|(_host, path)| path);
    path.and_then(|path| path.rsplit_once(':')).with_context(|| format!("{name}: no tag"))
}
