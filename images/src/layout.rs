//! OCI image layouts, as a directory or a tar of one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rrun_blocking::Pool;

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::manifest::{self, Descriptor, Document};
use crate::tar::{Archive, EntryKind};

/// Read at a time.
const PIECE: usize = 256 << 10;

/// Imports that read a file at a time, which may be on any file system.
static READS: Pool = Pool::new(32);

/// A layout to read blobs from.
pub(crate) enum Layout {
    Dir(PathBuf),
    /// The tar, and where in it each file's data lie.
    Tar(Arc<File>, HashMap<String, (u64, u64)>),
}

impl Layout {
    /// Opens it; blocks while a tar is read through.
    pub(crate) fn open(path: &Path) -> Result<Layout> {
        if path.is_dir() {
            return Ok(Layout::Dir(path.to_owned()));
        }
        Layout::open_tar(File::open(path)?)
            .context("not an OCI layout, which is a directory or a plain tar file of one")
    }

    fn open_tar(file: File) -> Result<Layout> {
        let mut archive = Archive::new(BufReader::with_capacity(PIECE, file.try_clone()?));
        let mut files = HashMap::new();
        while let Some(entry) = archive.next_entry()? {
            if entry.kind == EntryKind::File && entry.sparse.is_none() {
                let name = String::from_utf8_lossy(&entry.path);
                let name = name.trim_start_matches("./").to_owned();
                files.insert(name, (archive.position(), entry.size));
            }
        }
        Ok(Layout::Tar(Arc::new(file), files))
    }

    /// The entries of its index.
    pub(crate) fn index(&self) -> Result<Vec<Descriptor>> {
        let mut bytes = Vec::new();
        self.file("index.json")?.take(manifest::LARGEST).read_to_end(&mut bytes)?;
        match manifest::parse(&bytes).context("index.json")? {
            Document::Index(entries) => Ok(entries),
            Document::Manifest { .. } => Err(Error::invalid("index.json is not an index")),
        }
    }

    fn file(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        match self {
            Layout::Dir(dir) => Ok(Box::new(File::open(dir.join(name)).context(name)?)),
            Layout::Tar(tar, files) => {
                let (at, size) = *files
                    .get(name)
                    .ok_or_else(|| Error::invalid(format_args!("no {name} in the archive")))?;
                Ok(Box::new(Part { tar: Arc::clone(tar), at, end: at + size }))
            }
        }
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
        let hasher = Some(Hasher::new(digest.algorithm()));
        let source = Some(self.blob(digest)?);
        Ok(FileStream { source, digest: digest.clone(), left: size, hasher })
    }
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
