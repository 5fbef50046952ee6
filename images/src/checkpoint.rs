//! The archive of a checkpoint, read: what podman, CRI-O, containerd and this runtime write. It is a
//! file, or the one layer of an image.
//!
//! Whoever names an archive need not have made it: what is read of it into memory is bounded, and what
//! is written of it stays within the folders that are given, whatever the names and links in it are.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::config;
use crate::digest::ImageId;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Changes, Stored};
use crate::manifest;
use crate::store::Disk;
use crate::tar::{Archive, Entry, EntryKind};

/// The most that is read of a document, and the most entries of one archive.
const DOCUMENT: u64 = 4 << 20;
const ENTRIES: usize = 1 << 16;

const BUFFER: usize = 256 << 10;

/// The folder with the image of the processes, and what the writable layer is made of.
const IMAGES: &[u8] = b"checkpoint/";
const CHANGES: &str = "rootfs-diff.tar";
const DELETED: &str = "deleted.files";

/// What podman's have of shared memory, which belongs to the pod here.
const SHARED: &str = "devshm-checkpoint.tar";

/// What the manifest or the index of an image with an archive in it is annotated with: the container's
/// name, as containerd and checkpointctl have it, and as CRI-O does.
const ANNOTATIONS: [&str; 2] =
    ["org.criu.checkpoint.container.name", "io.kubernetes.cri-o.annotations.checkpoint.name"];

/// An archive.
#[derive(Debug)]
pub struct Checkpoint {
    from: Place,
    /// What errors call it.
    what: String,
}

#[derive(Debug)]
enum Place {
    File(File),
    Layer(Stored),
}

/// What an archive says of its container, in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// `config.dump`: what podman's format has of it.
    pub config: Vec<u8>,
    /// `spec.dump`: the OCI configuration that it was made with.
    pub spec: Vec<u8>,
}

impl Checkpoint {
    /// Opens one, which stays this one whatever the path names later. Blocks, as all that follows.
    ///
    /// # Errors
    /// `NotFound` without a file, `Invalid` for what is no regular one: no link is followed there.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let what = || format!("checkpoint {}", path.display());
        let file = rrun_sys::record::open(path).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Kind::NotFound,
                _ => Kind::Invalid,
            };
            Error::new(kind, error.to_string()).context(what())
        })?;
        Ok(Checkpoint { from: Place::File(file), what: what() })
    }

    /// The one in an image, which its documents say is one; `None` for any other image. It is no more
    /// than its layers are: whoever reads it holds the image.
    ///
    /// # Errors
    /// `Invalid` for an image of more than one layer, or of one whose archive cannot be made again.
    pub(crate) fn of_image(disk: &Disk, id: &ImageId) -> Result<Option<Checkpoint>> {
        let documents = disk.documents(id)?;
        if !documents.iter().any(|document| is_annotated(document)) {
            return Ok(None);
        }
        let what = format!("checkpoint {id}");
        let found = || {
            let count = config::parse(&disk.document(id)?)?.diff_ids.len();
            if count != 1 {
                let why = format!("an image with a checkpoint has one layer, and it has {count}");
                return Err(Error::invalid(why));
            }
            let (_, layer) = disk
                .parts_of(id)?
                .pop()
                .ok_or_else(|| Error::not_found("its layer is gone, pull it again"))?;
            if !layer.has_archive() {
                return Err(Error::invalid("its layer has a path twice"));
            }
            Ok(layer)
        };
        let layer = found().context(&what)?;
        Ok(Some(Checkpoint { from: Place::Layer(layer), what }))
    }

    /// Reads what it says of its container.
    ///
    /// # Errors
    /// `Invalid` for what is no such archive, or has too large documents.
    pub fn documents(&self) -> Result<Documents> {
        let (mut config, mut spec) = (None, None);
        let read = self.each(|name, entry, archive| {
            let document = match name {
                b"config.dump" => &mut config,
                b"spec.dump" => &mut spec,
                _ => return Ok(()),
            };
            once(document.is_some())?;
            *document = Some(self::document(entry, archive)?);
            Ok(())
        });
        let documents = read.and_then(|()| match (config, spec) {
            (Some(config), Some(spec)) => Ok(Documents { config, spec }),
            (None, _) => Err(Error::invalid("it is no checkpoint: there is no config.dump in it")),
            (_, None) => Err(Error::invalid("it is no checkpoint: there is no spec.dump in it")),
        });
        documents.context(&self.what)
    }

    /// Writes the image of the processes into the empty folder `images`, and what the container has
    /// changed of its own image into `upper`, the upper directory of an overlay that is not mounted yet.
    ///
    /// # Errors
    /// `Invalid` for an archive that is not as it must be; what cannot be written.
    pub fn unpack(&self, images: &Path, upper: &Path) -> Result<()> {
        let mut changes = Changes::open(upper).context(&self.what)?;
        let (mut deleted, mut seen) = (None, BTreeSet::new());
        let read = self.each(|name, entry, archive| {
            if let Some(name) = name.strip_prefix(IMAGES) {
                return image(images, name, entry, archive);
            }
            if name == SHARED.as_bytes() {
                regular(entry)?;
                return nothing(Archive::new(Data(archive)));
            }
            let Ok(known @ (CHANGES | DELETED)) = std::str::from_utf8(name) else { return Ok(()) };
            once(!seen.insert(known.to_owned()))?;
            if known == DELETED {
                deleted = Some(document(entry, archive)?);
                return Ok(());
            }
            regular(entry)?;
            changes.add(Data(archive)).context(CHANGES)
        });
        let unpacked = read.and_then(|()| {
            let deleted: Vec<String> = match &deleted {
                None => Vec::new(),
                Some(json) => serde_json::from_slice(json)
                    .map_err(|error| Error::invalid(error).context(DELETED))?,
            };
            for path in &deleted {
                changes.delete(path)?;
            }
            changes.finish()
        });
        unpacked.context(&self.what)
    }

    /// Tells each entry by its name without what stands for the archive's own folder.
    fn each(&self, tell: impl FnMut(&[u8], &Entry, &mut Tar<'_>) -> Result<()>) -> Result<()> {
        match &self.from {
            Place::File(file) => {
                let mut file = file;
                file.rewind()?;
                each(&mut BufReader::with_capacity(BUFFER, file), tell)
            }
            Place::Layer(layer) => of_layer(layer, tell),
        }
    }
}

type Tar<'a> = Archive<&'a mut dyn BufRead>;

fn each(
    from: &mut dyn BufRead,
    mut tell: impl FnMut(&[u8], &Entry, &mut Tar<'_>) -> Result<()>,
) -> Result<()> {
    let mut archive = Archive::new(from);
    let mut count = 0;
    while let Some(entry) = archive.next_entry()? {
        count += 1;
        if count > ENTRIES {
            return Err(Error::invalid(format_args!("it has more than {ENTRIES} entries")));
        }
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path).to_vec();
        tell(&name, &entry, &mut archive)
            .context(format_args!("entry \"{}\"", entry.path.escape_ascii()))?;
    }
    Ok(())
}

/// A layer's archive is written, and read by a pipe: nothing of it is in the memory or on the disk
/// twice.
fn of_layer(
    layer: &Stored,
    tell: impl FnMut(&[u8], &Entry, &mut Tar<'_>) -> Result<()>,
) -> Result<()> {
    let (from, mut to) = io::pipe()?;
    thread::scope(|scope| {
        let written = scope.spawn(move || layer.write_archive(&mut to));
        let mut from = BufReader::with_capacity(BUFFER, from);
        let told = each(&mut from, tell);
        // To the end, so that an error of the other side is not one about the pipe.
        let drained = io::copy(&mut from, &mut io::sink());
        let written = written.join();
        written.map_err(|_| Error::new(Kind::Internal, "a thread has ended"))??;
        drained?;
        told
    })
}

/// Whether a manifest or an index is that of an image with an archive in it.
fn is_annotated(document: &[u8]) -> bool {
    let has = |annotations: Value| ANNOTATIONS.iter().any(|name| annotations.get(name).is_some());
    manifest::annotations(document).is_some_and(has)
}

fn once(is_there: bool) -> Result<()> {
    if is_there { Err(Error::invalid("it is there twice")) } else { Ok(()) }
}

fn regular(entry: &Entry) -> Result<()> {
    match (entry.kind, &entry.sparse) {
        (EntryKind::File, None) => Ok(()),
        _ => Err(Error::invalid("it is no regular file")),
    }
}

fn document(entry: &Entry, archive: &mut Archive<impl BufRead>) -> Result<Vec<u8>> {
    regular(entry)?;
    if entry.size > DOCUMENT {
        let why = format!("it has {} bytes, and {DOCUMENT} are the most", entry.size);
        return Err(Error::invalid(why));
    }
    let mut bytes = Vec::new();
    Data(archive).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses whatever an archive has beside its own folder.
fn nothing(mut archive: Archive<impl BufRead>) -> Result<()> {
    while let Some(entry) = archive.next_entry()? {
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if !name.is_empty() && name != b"." {
            let what = format!("/dev/shm/{}", name.escape_ascii());
            return Err(Error::invalid("files in shared memory cannot be restored").context(what));
        }
    }
    Ok(())
}

/// One file of the image of the processes: criu makes no folder there.
fn image(
    folder: &Path,
    name: &[u8],
    entry: &Entry,
    archive: &mut Archive<impl BufRead>,
) -> Result<()> {
    if name.is_empty() && entry.kind == EntryKind::Directory {
        return Ok(());
    }
    regular(entry)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let name = std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|b| is_plain(&b)));
    let Some(name) = name.filter(|name| !name.is_empty() && !name.starts_with('.')) else {
        return Err(Error::invalid("it is no name of a file of criu's"));
    };
    let path = folder.join(name);
    let mut file = File::options().write(true).create_new(true).open(&path).context(name)?;
    io::copy(&mut Data(archive), &mut file)?;
    Ok(file.flush()?)
}

/// The data of an entry.
struct Data<'a, R>(&'a mut Archive<R>);

impl<R: BufRead> Read for Data<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Data<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.data()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

#[cfg(test)]
mod tests;
