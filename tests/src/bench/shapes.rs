//! The images that are pulled: what is in them, and how they are made, once.

use super::floor::Blob;
use super::program::{Program, Random};
use crate::images::{self, Config, Format, LayerFacts, Pusher, assemble, assemble_of};
use crate::images::{Data, Entry, Layer, LayerBlob};
use crate::place;
use crate::registry::Registry;
use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The images, in the order in which they are pulled.
pub const NAMES: [&str; 4] = ["one", "six", "small", "real"];
/// How many there are for the lists.
pub const TINY: usize = 1000;

const MB: u64 = 1_000_000;

/// One layer.
#[derive(Clone, Copy)]
enum Shape {
    /// Files of 64 KiB to 8 MiB, until so many megabytes are compressed.
    Programs(u64),
    /// So many files, most of them small, of so many megabytes in all.
    Tree(u64, u64),
}

/// What `NAMES` are.
fn shapes(name: &str) -> &'static [Shape] {
    use Shape::{Programs, Tree};
    match name {
        "one" => &[Programs(319)],
        "six" => &[
            Programs(190),
            Programs(150),
            Programs(120),
            Programs(100),
            Programs(78),
            Programs(50),
        ],
        "small" => &[Tree(40_000, 235)],
        // A distribution, certificates, tools, compilers, an interpreter, its configuration, the
        // packages that an application uses, and the application.
        _ => &[
            Tree(8_000, 115),
            Tree(500, 12),
            Tree(3_000, 48),
            Tree(14_000, 360),
            Tree(3_500, 90),
            Tree(200, 5),
            Tree(30_000, 340),
            Tree(800, 30),
        ],
    }
}

const FOLDERS: [&str; 8] = [
    "usr/share",
    "etc/ssl",
    "usr/bin",
    "usr/lib/gcc",
    "usr/local/lib",
    "usr/local/etc",
    "srv/app/modules",
    "srv/app/src",
];

/// Files of a [`Shape::Tree`], as they are numbered, in a folder without a leading slash.
pub struct Part<'a> {
    /// Where they are.
    pub folder: &'a str,
    /// Which.
    pub files: Range<u64>,
    /// Their size in all.
    pub megabytes: u64,
}

/// A layer that was made.
#[derive(Serialize, Deserialize)]
pub struct Made {
    /// Of what a registry keeps.
    pub digest: String,
    /// Of the uncompressed tar file.
    pub diff_id: String,
    /// Bytes that a registry keeps.
    pub size: u64,
    /// Bytes of the uncompressed tar file.
    pub unpacked: u64,
}

/// The four images as a registry keeps them.
pub struct Shapes {
    /// The registry's storage.
    pub storage: PathBuf,
    made: BTreeMap<String, Vec<Made>>,
}

impl Shapes {
    /// From the cache, where they are made first if they are missing: that takes a few minutes.
    pub fn get() -> Result<Self> {
        let folder = place::cache().join("bench/images-1");
        once(&folder, make_all)?;
        let made = serde_json::from_slice(&fs::read(folder.join("made.json"))?)?;
        Ok(Self { storage: folder.join("registry"), made })
    }

    /// The layers of an image, the largest first.
    pub fn blobs(&self, name: &str) -> Vec<Blob> {
        let folder = self.storage.join("docker/registry/v2/blobs/sha256");
        let blob = |made: &Made| {
            let hex = made.digest.trim_start_matches("sha256:");
            Blob {
                path: folder.join(&hex[..2]).join(hex).join("data"),
                size: made.size as usize,
                unpacked: made.unpacked as usize,
            }
        };
        let mut blobs: Vec<_> = self.made.get(name).into_iter().flatten().map(blob).collect();
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        blobs
    }
}

/// The storage of a registry with [`TINY`] images, whose names are `tiny-0` and so on.
pub fn tiny() -> Result<PathBuf> {
    let folder = place::cache().join("bench/tiny-1");
    once(&folder, |new| {
        let registry = Registry::options(new).start()?;
        let mut pusher = Pusher::new(registry.address());
        let sources = images::Sources { debian: new.to_owned(), programs: new.to_owned() };
        for image in 0..TINY {
            let data = Data::Text(format!("{image}\n"));
            let layer = Layer::default().add("number", Entry::File(0o644, data)).blob(&sources)?;
            push_tiny(&mut pusher, &format!("tiny-{image}"), &layer)?;
        }
        Ok(())
    })?;
    Ok(folder)
}

fn push_tiny(pusher: &mut Pusher, repository: &str, layer: &LayerBlob) -> Result<()> {
    let made = assemble(Format::Oci, &Config::default(), &[layer])?;
    pusher.blob(repository, &layer.blob)?;
    pusher.blob(repository, &made.config)?;
    let (media, blob) = &made.manifest;
    pusher.manifest(repository, "1", media, blob)
}

/// Fills a folder under another name first.
pub fn once(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let new = folder.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    fill(&new).with_context(|| format!("make {}", folder.display()))?;
    fs::rename(&new, folder)?;
    Ok(())
}

fn make_all(new: &Path) -> Result<()> {
    let storage = new.join("registry");
    fs::create_dir(&storage)?;
    let registry = Registry::options(&storage).start()?;
    let mut pusher = Pusher::new(registry.address());
    let mut all = BTreeMap::new();
    for (seed, name) in (1..).zip(NAMES) {
        let layers = shapes(name).iter().zip(FOLDERS).enumerate().map(|(at, (shape, folder))| {
            let file = new.join("layer");
            let seed = seed * 100 + at as u64;
            let made = match *shape {
                Shape::Programs(megabytes) => programs(&file, folder, megabytes, seed)?,
                Shape::Tree(files, megabytes) => {
                    make(&file, Part { folder, files: 0..files, megabytes }, seed)?.0
                }
            };
            pusher.file(name, &made.digest, &file)?;
            fs::remove_file(&file)?;
            anyhow::Ok(made)
        });
        let layers: Vec<Made> = layers.collect::<Result<_>>()?;
        let facts = |made: &Made| LayerFacts {
            digest: made.digest.clone(),
            size: made.size,
            diff_id: made.diff_id.clone(),
        };
        let facts: Vec<_> = layers.iter().map(facts).collect();
        let image = assemble_of(Format::Oci, &Config::default(), &facts)?;
        pusher.blob(name, &image.config)?;
        let (media, blob) = &image.manifest;
        pusher.manifest(name, "1", media, blob)?;
        all.insert(name, layers);
    }
    fs::write(new.join("made.json"), serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}

/// Writes a layer to a file, of such files as compress to so many megabytes.
fn programs(file: &Path, folder: &str, megabytes: u64, seed: u64) -> Result<Made> {
    let mut tree = Tree::begin(file, folder, seed)?;
    tree.programs(megabytes * MB, &mut Random::new(seed))?;
    tree.end()
}

/// Writes a layer to a file; the paths of its files.
pub fn make(file: &Path, part: Part<'_>, seed: u64) -> Result<(Made, Vec<String>)> {
    let mut tree = Tree::begin(file, part.folder, seed)?;
    let paths = tree.files(part.files, part.megabytes * MB, &mut Random::new(seed))?;
    Ok((tree.end()?, paths))
}

type Gz = GzEncoder<Counted<BufWriter<File>>>;

/// A layer while it is written.
struct Tree<'a> {
    tar: tar::Builder<Counted<Gz>>,
    folder: &'a str,
    /// Folders that are in it.
    made: BTreeSet<PathBuf>,
    data: Program,
}

impl<'a> Tree<'a> {
    fn begin(file: &Path, folder: &'a str, seed: u64) -> Result<Self> {
        let file = Counted::new(BufWriter::new(File::create(file)?));
        let gz = GzBuilder::new().mtime(0).write(file, Compression::new(6));
        let tar = tar::Builder::new(Counted::new(gz));
        Ok(Tree { tar, folder, made: BTreeSet::new(), data: Program::new(seed) })
    }

    fn end(self) -> Result<Made> {
        let (gz, diff_id, unpacked) = self.tar.into_inner()?.end();
        let (mut file, digest, size) = gz.finish()?.end();
        file.flush()?;
        Ok(Made { digest, diff_id, size, unpacked })
    }

    fn programs(&mut self, compressed: u64, random: &mut Random) -> Result<()> {
        for file in 0.. {
            let top = 1 << random.within(17, 24);
            let left = compressed.saturating_sub(self.tar.get_ref().inner.get_ref().count);
            if left == 0 {
                return Ok(());
            }
            // What is left decides about the last ones; programs are two to three times as large.
            let size = random.within(top / 2, top).min(left * 2 + 1000);
            self.file(&format!("{}/program-{file}", self.folder), size)?;
        }
        Ok(())
    }

    fn files(&mut self, files: Range<u64>, bytes: u64, random: &mut Random) -> Result<Vec<String>> {
        let sizes: Vec<_> = files.clone().map(|_| size(random)).collect();
        let all: u64 = sizes.iter().sum();
        let mut paths = Vec::new();
        for (file, size) in files.zip(sizes) {
            let path = format!("{}/{}", self.folder, nested(file));
            self.file(&path, size * bytes / all)?;
            if file % 25 == 0 {
                let mut header = header(tar::EntryType::Symlink, 0);
                let target = Path::new(&path).file_name().unwrap_or_default();
                self.tar.append_link(&mut header, format!("{path}.link"), target)?;
            }
            paths.push(path);
        }
        Ok(paths)
    }

    fn file(&mut self, path: &str, size: u64) -> Result<()> {
        let parents = Path::new(path).ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
        let missing: Vec<_> = parents.take_while(|p| !self.made.contains(*p)).collect();
        for parent in missing.into_iter().rev() {
            let mut header = header(tar::EntryType::Directory, 0);
            self.tar.append_data(&mut header, parent.join(""), &[][..])?;
            self.made.insert(parent.to_owned());
        }
        let mut header = header(tar::EntryType::Regular, size);
        self.tar.append_data(&mut header, path, (&mut self.data).take(size))?;
        Ok(())
    }
}

/// Twelve files in a folder, and six folders, the first of which are the less deep.
fn nested(file: u64) -> String {
    let (mut path, mut left) = (String::new(), file / 12);
    while left > 0 {
        left -= 1;
        path = format!("folder-{}/{path}", left % 6);
        left /= 6;
    }
    format!("{path}file-{file}.so")
}

/// Half of all files have less than 2 KiB, and one of a hundred has half of all bytes.
fn size(random: &mut Random) -> u64 {
    match random.within(0, 100) {
        0..50 => random.within(0, 2 << 10),
        50..80 => random.within(2 << 10, 10 << 10),
        80..95 => random.within(10 << 10, 50 << 10),
        95..99 => random.within(50 << 10, 300 << 10),
        _ => random.within(300 << 10, 2 << 20),
    }
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

/// Counts and hashes what is written.
struct Counted<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W> Counted<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    fn end(self) -> (W, String, u64) {
        let hex: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.inner, format!("sha256:{hex}"), self.count)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
