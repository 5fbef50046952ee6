//! Layers: a sorted set of paths, written as a tar file that is the same on every machine.

use super::blob::Blob;
use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a file's bytes come from.
#[derive(Clone, Debug)]
pub enum Data {
    /// Given here.
    Text(String),
    /// A file below the root of unpacked Debian packages.
    Debian(&'static str),
    /// A C program of ours, linked statically: its name and source.
    Program(&'static str, &'static str),
}

/// One entry of a layer.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A directory with its mode.
    Dir(u32),
    /// A regular file with its mode.
    File(u32, Data),
    /// Another name of a file of the same layer.
    HardLink(&'static str),
}

/// Paths without a leading slash, and what stands there.
#[derive(Clone, Debug, Default)]
pub struct Layer(pub BTreeMap<String, Entry>);

impl Layer {
    /// Adds an entry, and its parent directories with mode 0755 where they are missing.
    pub fn add(mut self, path: &str, node: Entry) -> Self {
        for parent in Path::new(path).ancestors().skip(1) {
            let parent = parent.to_string_lossy().into_owned();
            if !parent.is_empty() {
                self.0.entry(parent).or_insert(Entry::Dir(0o755));
            }
        }
        self.0.insert(path.to_owned(), node);
        self
    }

    /// A file with text.
    pub fn text(self, path: &str, text: &str) -> Self {
        self.add(path, Entry::File(0o644, Data::Text(text.to_owned())))
    }

    /// A file of a Debian package, at the same path unless `path` says otherwise.
    pub fn debian(self, path: &str, source: &'static str) -> Self {
        self.add(path, Entry::File(0o755, Data::Debian(source)))
    }

    /// The layer as a gzipped tar file.
    pub fn blob(&self, sources: &Sources) -> Result<LayerBlob> {
        let tar = self.tar(sources)?;
        let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6));
        gz.write_all(&tar)?;
        Ok(LayerBlob { blob: Blob::new(gz.finish()?), diff_id: super::digest_of(&tar) })
    }

    fn tar(&self, sources: &Sources) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        // Two rounds: a hard link may stand only after the file that it names.
        for (path, node) in &self.0 {
            match node {
                Entry::Dir(mode) => {
                    let mut header = header(tar::EntryType::Directory, *mode, 0);
                    tar.append_data(&mut header, format!("{path}/"), &[][..])?;
                }
                Entry::File(mode, data) => {
                    let bytes = sources.read(data).with_context(|| format!("/{path}"))?;
                    let mut header = header(tar::EntryType::Regular, *mode, bytes.len() as u64);
                    tar.append_data(&mut header, path, &bytes[..])?;
                }
                Entry::HardLink(_) => {}
            }
        }
        for (path, node) in &self.0 {
            if let Entry::HardLink(to) = node {
                let mut header = header(tar::EntryType::Link, 0o755, 0);
                tar.append_link(&mut header, path, to)?;
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A layer as it is stored, and the digest of the tar file inside.
#[derive(Clone, Debug)]
pub struct LayerBlob {
    /// What the registry keeps.
    pub blob: Blob,
    /// Digest of the uncompressed tar file.
    pub diff_id: String,
}

/// What a manifest and a config say of a layer.
#[derive(Clone, Debug)]
pub struct LayerFacts {
    /// Digest of what the registry keeps.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    /// Digest of the uncompressed tar file.
    pub diff_id: String,
}

impl LayerBlob {
    /// What is said of it.
    pub fn facts(&self) -> LayerFacts {
        LayerFacts {
            digest: self.blob.digest.clone(),
            size: self.blob.bytes.len() as u64,
            diff_id: self.diff_id.clone(),
        }
    }
}

/// Where [`Data`] is found: the Debian root, and a folder of compiled programs.
pub struct Sources {
    /// Root of unpacked packages.
    pub debian: PathBuf,
    /// Compiled programs.
    pub programs: PathBuf,
}

impl Sources {
    fn read(&self, data: &Data) -> Result<Vec<u8>> {
        match data {
            Data::Text(text) => Ok(text.clone().into_bytes()),
            Data::Debian(path) => {
                let path = self.debian.join(path);
                std::fs::read(&path).with_context(|| format!("{}", path.display()))
            }
            Data::Program(name, source) => self.compile(name, source),
        }
    }

    fn compile(&self, name: &str, source: &str) -> Result<Vec<u8>> {
        let (out, c) = (self.programs.join(name), self.programs.join(format!("{name}.c")));
        if !out.exists() {
            std::fs::write(&c, source)?;
            let status = std::process::Command::new("cc")
                .args(["-static", "-Os", "-s", "-Wl,--build-id=none", "-o"])
                .args([&out, &c])
                .status()
                .context("cc")?;
            anyhow::ensure!(status.success(), "cc {name}.c: {status}");
        }
        Ok(std::fs::read(&out)?)
    }
}
