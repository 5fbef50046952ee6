//! OCI image layouts and archives of `docker save`, as a directory or a tar of one, which may be
//! compressed and come through a pipe.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rrun_blocking::Pool;
use rrun_sys::in_root::open_regular_of_host;

use crate::config;
use crate::digest::{Digest, Hasher, ImageId};
use crate::docker_archive::{self, Saved};
use crate::error::{Context, Error, Result};
use crate::layer::{Compression, decoder, sniff};
use crate::manifest::{self, Descriptor, Document};
use crate::tar::{Archive, EntryKind};

/// Read at a time.
const PIECE: usize = 256 << 10;
const MOST_LINKS: usize = 40;

/// Imports that read a file at a time, which may be on any file system.
static READS: Pool = Pool::new(32);

/// A layout to read blobs from.
pub(crate) struct Layout {
    files: Files,
    /// Of an archive of `docker save`: the path of each layer, by its diff ID.
    saved: HashMap<Digest, String>,
}

enum Files {
    Dir(PathBuf),
    Tar(Tar),
}

/// A tar, and where in it each file's data lie.
struct Tar {
    file: Arc<File>,
    files: HashMap<String, (u64, u64)>,
    /// Where its links lead, and where else they may.
    links: HashMap<String, [String; 2]>,
}

impl Layout {
    /// Opens it; blocks while a tar is read through. What cannot be read at any place is unpacked
    /// into a file without a name in the folder `spool`.
    pub(crate) fn open(path: &Path, spool: &Path) -> Result<Layout> {
        let files = match path.is_dir() {
            true => Files::Dir(path.to_owned()),
            false => Files::Tar(
                Tar::open(open_archive(path)?, spool)
                    .context("no OCI layout and no archive of docker save")?,
            ),
        };
        Ok(Layout { files, saved: HashMap::new() })
    }

    /// The entries of its index; `None` if it has none, and so is an archive of `docker save`.
    pub(crate) fn index(&self) -> Result<Option<Vec<Descriptor>>> {
        let is_saved = self.has("manifest.json") && !self.has("index.json");
        if is_saved {
            return Ok(None);
        }
        match manifest::parse(&self.small("index.json")?).context("index.json")? {
            Document::Index(entries) => Ok(Some(entries)),
            Document::Manifest { .. } => Err(Error::invalid("index.json is not an index")),
        }
    }

    /// The images of an archive of `docker save`, whose layers can be streamed from now on.
    pub(crate) fn saved(&mut self) -> Result<Vec<Saved>> {
        let entries = docker_archive::parse(&self.small("manifest.json")?)?;
        entries.iter().map(|entry| self.saved_image(entry)).collect()
    }

    fn saved_image(&mut self, entry: &docker_archive::Entry) -> Result<Saved> {
        let config = self.small(&entry.config)?;
        let diff_ids = config::parse(&config)?.diff_ids;
        if diff_ids.len() != entry.layers.len() {
            let (ids, layers) = (diff_ids.len(), entry.layers.len());
            let why = format!("{}: {ids} layers, manifest.json has {layers}", entry.config);
            return Err(Error::invalid(why));
        }
        let mut layers = Vec::new();
        for (digest, path) in diff_ids.into_iter().zip(&entry.layers) {
            // Of two files that are one layer, compressed in two ways, either will do.
            let path = self.saved.entry(digest.clone()).or_insert_with(|| path.clone()).clone();
            let size = self.size(&path)?;
            layers.push(Descriptor { size, ..Descriptor::of(digest) });
        }
        let id = ImageId::new(Digest::of(&config));
        Ok(Saved { id, config, layers, tags: entry.tags.clone() })
    }

    fn has(&self, name: &str) -> bool {
        match &self.files {
            Files::Dir(dir) => inside(dir, name).exists(),
            Files::Tar(tar) => tar.find(name).is_some(),
        }
    }

    fn size(&self, name: &str) -> Result<u64> {
        match &self.files {
            Files::Dir(dir) => Ok(std::fs::metadata(inside(dir, name)).context(name)?.len()),
            Files::Tar(tar) => tar.part(name).map(|part| part.end - part.at),
        }
    }

    fn file(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        match &self.files {
            Files::Dir(dir) => {
                Ok(Box::new(open_regular_of_host(&inside(dir, name)).context(name)?))
            }
            Files::Tar(tar) => Ok(Box::new(tar.part(name)?)),
        }
    }

    /// A document, whole.
    fn small(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name)?.take(manifest::LARGEST).read_to_end(&mut bytes).context(name)?;
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        self.file(&format!("blobs/{}", digest.to_string().replace(':', "/")))
    }

    /// A small blob, verified.
    pub(crate) fn read(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.blob(digest)?.take(manifest::LARGEST + 1).read_to_end(&mut bytes)?;
        if size.is_some_and(|size| size != bytes.len() as u64) {
            return Err(Error::invalid(format_args!("{digest}: {} bytes", bytes.len())));
        }
        digest.verify(&bytes)?;
        Ok(bytes)
    }

    /// A blob in pieces, verified at the end.
    pub(crate) fn stream(&self, digest: &Digest, size: u64) -> Result<FileStream> {
        if let Some(path) = self.saved.get(digest) {
            // The digest is that of the layer uncompressed, which is verified when it is unpacked.
            let source = Some(self.file(path)?);
            return Ok(FileStream { source, digest: digest.clone(), left: size, hasher: None });
        }
        let hasher = Some(Hasher::new(digest.algorithm()));
        let source = Some(self.blob(digest)?);
        Ok(FileStream { source, digest: digest.clone(), left: size, hasher })
    }
}

impl Tar {
    fn open(file: File, spool: &Path) -> Result<Tar> {
        let file = seekable(file, spool)?;
        let mut archive = Archive::new(BufReader::with_capacity(PIECE, file.try_clone()?));
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        while let Some(entry) = archive.next_entry()? {
            let name = docker_archive::clean(&String::from_utf8_lossy(&entry.path));
            let target = String::from_utf8_lossy(&entry.link).into_owned();
            match entry.kind {
                EntryKind::File if entry.sparse.is_none() => {
                    files.insert(name, (archive.position(), entry.size));
                }
                EntryKind::HardLink => {
                    let target = docker_archive::clean(&target);
                    links.insert(name, [target.clone(), target]);
                }
                EntryKind::Symlink => {
                    let places = docker_archive::leads_to(&name, &target);
                    links.insert(name, places);
                }
                _ => {}
            }
        }
        Ok(Tar { file: Arc::new(file), files, links })
    }

    /// Place and size of a file, through links.
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut at = docker_archive::clean(name);
        for _ in 0..MOST_LINKS {
            if let Some(found) = self.files.get(&at) {
                return Some(*found);
            }
            let [first, second] = self.links.get(&at)?;
            let is_there = self.files.contains_key(first) || self.links.contains_key(first);
            at = if is_there { first.clone() } else { second.clone() };
        }
        None
    }

    fn part(&self, name: &str) -> Result<Part> {
        let missing = || Error::invalid(format_args!("no {name} in the archive"));
        let (at, size) = self.find(name).ok_or_else(missing)?;
        Ok(Part { tar: Arc::clone(&self.file), at, end: at + size })
    }
}

/// A file of a folder by a name that a document in it gives, which leads nowhere else by itself.
fn inside(dir: &Path, name: &str) -> PathBuf {
    dir.join(docker_archive::clean(name))
}

/// Whoever imports may name a pipe, but no device: reading one may never end.
fn open_archive(path: &Path) -> Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(Error::invalid("a device, and neither a file nor a pipe"));
    }
    Ok(File::open(path)?)
}

/// The file as it is, if it can be read at any place; else what it holds, in a file without a name.
fn seekable(mut file: File, spool: &Path) -> Result<File> {
    let is_regular = file.metadata()?.is_file();
    let mut start = [0; 4];
    let mut have = 0;
    while let n @ 1.. = file.read(&mut start[have..])? {
        have += n;
    }
    let how = sniff(&start[..have]);
    if is_regular && how == Compression::Plain {
        file.seek(SeekFrom::Start(0))?;
        return Ok(file);
    }
    let source = BufReader::with_capacity(PIECE, (&start[..have]).chain(file));
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let unnamed = open(spool, flags, Mode::S_IRUSR | Mode::S_IWUSR).context(spool.display())?;
    let mut unnamed = File::from(unnamed);
    io::copy(&mut decoder(source, how)?, &mut unnamed).context("unpack it")?;
    unnamed.seek(SeekFrom::Start(0))?;
    Ok(unnamed)
}

/// A file inside a tar.
struct Part {
    tar: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = left.min(to.len());
        let n = self.tar.read_at(&mut to[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

pub(crate) struct FileStream {
    source: Option<Box<dyn Read + Send>>,
    digest: Digest,
    left: u64,
    hasher: Option<Hasher>,
}

impl FileStream {
    /// The next piece, read on a blocking thread.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(mut source) = self.source.take() else { return Ok(None) };
        let read = READS.run(move || {
            let mut piece = Vec::with_capacity(PIECE);
            let n = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            (source, n.map(|_| piece))
        });
        let (source, piece) = read.await;
        let piece = piece?;
        self.left = self
            .left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| Error::invalid("larger than its descriptor says"))?;
        if piece.is_empty() {
            if self.left > 0 {
                return Err(Error::invalid(format_args!("{} bytes are missing", self.left)));
            }
            let hasher = self.hasher.take();
            return match hasher.map(Hasher::finish) {
                Some(got) => self.digest.expect_equal(&got).map(|()| None),
                None => Ok(None),
            };
        }
        self.source = Some(source);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        Ok(Some(piece.into()))
    }
}
