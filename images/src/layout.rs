//! OCI image layouts, as a directory or a tar of one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::manifest::{self, Descriptor, Document};
use crate::platform::Node;
use crate::progress::Reporter;
use crate::pull::Source;
use crate::reference::Reference;
use crate::store::records::NameKind;
use crate::store::{Image, Store};
use crate::tar::{Archive, EntryKind};

/// Read at a time.
const PIECE: usize = 256 << 10;

/// A layout to read blobs from.
pub(crate) enum Layout {
    Dir(PathBuf),
    /// The tar, and where in it each file's data lie.
    Tar(Arc<File>, HashMap<String, (u64, u64)>),
}

impl Store {
    /// Imports the images of an OCI layout (a directory, or a tar file of one) that this node can
    /// run. They are named as `name` says, which needs a layout of one image, or else as the
    /// layout's index does; an image without a name is found by its id.
    pub async fn import_layout(&self, path: &Path, name: Option<&Reference>) -> Result<Vec<Image>> {
        let done = self.import(path, name).await;
        done.context(format_args!("import {}", path.display()))
    }

    async fn import(&self, path: &Path, name: Option<&Reference>) -> Result<Vec<Image>> {
        let layout = Layout::open(path)?;
        let all = layout.index()?;
        let index = manifest::choose(&all, &Node::here())?;
        if name.is_some() && index.len() != 1 {
            let why = format!("{} images in the layout, but one name", index.len());
            return Err(Error::invalid(why));
        }
        let source = Source::Layout(layout);
        let mut images = Vec::new();
        let mut foreign = None;
        for entry in index {
            let named = match (name, &entry.name) {
                (Some(name), _) => Some(name.clone()),
                // An annotation may be a mere tag, which names nothing.
                (None, Some(text)) => text.parse().ok().filter(|_| text.contains(['/', ':'])),
                (None, None) => None,
            };
            match self.import_one(&source, entry, named.as_ref()).await {
                Ok(image) => images.push(image),
                Err(e) if e.kind() == crate::Kind::NotFound => foreign = Some(e),
                Err(e) => return Err(e).context(&entry.digest),
            }
        }
        match (images.is_empty(), foreign) {
            (true, Some(e)) => Err(e),
            (true, None) => Err(Error::not_found("no image in the layout")),
            (false, _) => Ok(images),
        }
    }

    async fn import_one(
        &self,
        source: &Source,
        entry: &Descriptor,
        name: Option<&Reference>,
    ) -> Result<Image> {
        let Source::Layout(layout) = source else {
            return Err(Error::new(crate::Kind::Internal, "not a layout"));
        };
        let top = layout.read(&entry.digest, Some(entry.size)).context("manifest")?;
        let mut parts = source.parts(top).await?;
        if let Some(name) = name {
            let digest = format!("{}@{}", name.name(), entry.digest);
            parts.names.push((digest, NameKind::Digest));
            parts.names.extend(name.tagged().map(|tag| (tag, NameKind::Tag)));
        }
        let id = self.complete(source, &parts, &Reporter::default()).await?;
        self.find(&id.to_string())?
            .ok_or_else(|| Error::not_found("removed right after its import"))
    }
}

impl Layout {
    fn open(path: &Path) -> Result<Layout> {
        if path.is_dir() {
            return Ok(Layout::Dir(path.to_owned()));
        }
        let file = File::open(path)?;
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

    fn index(&self) -> Result<Vec<Descriptor>> {
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
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            let n = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            (source, n.map(|_| piece))
        });
        let (source, piece) = read.await.map_err(|e| Error::new(crate::Kind::Internal, e))?;
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
