//! Tar archives as a stream: ustar, GNU and PAX, sparse files included. Pure over a reader.
//!
//! Our own and not the `tar` crate: that one has no PAX sparse files, keeps ids and sizes of PAX
//! records for the caller to apply, and copies the data once more than needed.

mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead};

pub use header::{Header, parse_header};
pub use pax::{Records, parse_records};
pub use sparse::Segment;

use crate::error::{Error, Result};

pub(crate) const BLOCK: usize = 512;
/// What the PAX headers and long names of one entry may be long together. One of them may be so in
/// Go's archive/tar; there may be any number of them before an entry, and all are held until it.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with data.
    File,
    /// Another name for an object of the archive.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// An entry with everything that extensions said about it applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written; not checked in any way.
    pub path: Vec<u8>,
    /// What it makes.
    pub kind: EntryKind,
    /// Target of a link, as written.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Length of the file, holes included.
    pub size: u64,
    /// Modification time: seconds since the epoch and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data of a sparse file goes.
    pub sparse: Option<Vec<Segment>>,
}

/// A reader of entries. The data of an entry lie between it and the next one.
pub struct Archive<R> {
    source: R,
    /// Data bytes of the current entry not yet read, and its padding.
    left: u64,
    padding: u64,
    position: u64,
}

impl<R: BufRead> Archive<R> {
    /// Starts at the first header.
    pub fn new(source: R) -> Archive<R> {
        Archive { source, left: 0, padding: 0, position: 0 }
    }

    /// The next entry; `None` at the end of the archive. Unread data are skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extra = Records::default();
        let mut held = 0;
        loop {
            self.skip_data()?;
            let Some(block) = self.block()? else { return Ok(None) };
            let Some(header) = parse_header(&block)? else { return Ok(None) };
            self.left = header.size;
            self.padding = padding(header.size);
            match header.kind {
                // Solaris has its own letter for the same.
                b'x' | b'X' => extra.merge(parse_records(&self.extension(&mut held)?)?),
                // Global records say nothing about single files in images (`git archive` writes
                // a comment); every client drops them.
                b'g' => {}
                b'L' => extra.path = Some(cut_nul(self.extension(&mut held)?)),
                b'K' => extra.link = Some(cut_nul(self.extension(&mut held)?)),
                // GNU's volume label and multi-volume parts.
                b'V' | b'M' | b'N' => return Err(Error::invalid("a part of a multi-volume tar")),
                _ => return self.entry(header, &block, extra).map(Some),
            }
        }
    }

    fn entry(&mut self, header: Header, block: &[u8; BLOCK], extra: Records) -> Result<Entry> {
        let path = extra.path.unwrap_or(header.path);
        let kind = match header.kind {
            b'0' | 0 | b'7' if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' | b'D' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let why = format!("type {:?} is unknown", char::from(other));
                return Err(named(Error::invalid(why), &path));
            }
        };
        let stored = extra.size.unwrap_or(header.size);
        (self.left, self.padding) = match kind {
            EntryKind::File => (stored, padding(stored)),
            // GNU tar's list of the names in it.
            EntryKind::Directory if header.kind == b'D' => (stored, padding(stored)),
            // Whatever size they claim, no data follow (Go does the same); a hard link with data
            // is cpio's habit and is not in images.
            _ => (0, 0),
        };
        let sparse = if header.kind == b'S' {
            Some(sparse::old_gnu(block, || self.need_block())?)
        } else {
            let mut counted = Counted { archive: self, taken: 0 };
            sparse::pax(&extra.sparse, &mut counted)?
        };
        let (size, sparse) = match sparse {
            Some((real, map)) => {
                sparse::check(&map, self.left, real).map_err(|e| named(e, &path))?;
                (real, Some(map))
            }
            None => (self.left, None),
        };
        Ok(Entry {
            path: extra.sparse.name.unwrap_or(path),
            kind,
            link: extra.link.unwrap_or(header.link),
            mode: header.mode & 0o7777,
            uid: extra.uid.unwrap_or(header.uid),
            gid: extra.gid.unwrap_or(header.gid),
            size,
            mtime: extra.mtime.unwrap_or((header.mtime, 0)),
            device: header.device,
            xattrs: extra.xattrs,
            sparse,
        })
    }

    /// The next bytes of the current entry's data, empty at its end; then [`Archive::consume`].
    pub fn data(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let have = self.source.fill_buf()?;
        if have.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let take = have.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&have[..take])
    }

    /// Passes `n` bytes of what [`Archive::data`] gave.
    pub fn consume(&mut self, n: usize) {
        self.source.consume(n);
        self.left -= n as u64;
        self.position += n as u64;
    }

    /// What it reads from.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// The same, when the archive is read.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Offset of the next byte of the archive.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads whatever follows the archive's end, for whoever hashes it.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            let n = self.source.fill_buf()?.len();
            if n == 0 {
                return Ok(());
            }
            self.source.consume(n);
        }
    }

    /// Passes what is left of an entry. Its data must be there; an archive that ends inside the
    /// padding after them is whole, and some writers leave the last one out.
    fn skip_data(&mut self) -> Result<()> {
        loop {
            let n = self.data().map_err(cut_short)?.len();
            if n == 0 {
                break;
            }
            self.consume(n);
        }
        self.left = std::mem::take(&mut self.padding);
        while self.left > 0 {
            let n = match self.data() {
                Ok(piece) => piece.len(),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e.into()),
            };
            self.consume(n);
        }
        self.left = 0;
        Ok(())
    }

    /// One block, or `None` at the end of the stream, which may come within the zeros of a last
    /// block.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let have = self.source.fill_buf()?;
            if have.is_empty() {
                if block[..filled].iter().all(|b| *b == 0) {
                    return Ok(None);
                }
                return Err(Error::invalid("the archive ends inside a header"));
            }
            let take = have.len().min(BLOCK - filled);
            block[filled..filled + take].copy_from_slice(&have[..take]);
            self.source.consume(take);
            self.position += take as u64;
            filled += take;
        }
        Ok(Some(block))
    }

    fn need_block(&mut self) -> Result<[u8; BLOCK]> {
        self.block()?.ok_or_else(|| Error::invalid("the archive ends inside a header"))
    }

    /// The data of an extension header; the entry has `held` bytes of others.
    fn extension(&mut self, held: &mut u64) -> Result<Vec<u8>> {
        *held = held.saturating_add(self.left);
        if *held > LARGEST_EXTENSION {
            return Err(Error::invalid(format!("extension headers of {held} bytes")));
        }
        let mut all = Vec::new();
        loop {
            let piece = self.data().map_err(cut_short)?;
            let n = piece.len();
            if n == 0 {
                return Ok(all);
            }
            all.extend_from_slice(piece);
            self.consume(n);
        }
    }
}

/// Reads blocks of an entry's data, where PAX 1.0 has its sparse map.
struct Counted<'a, R> {
    archive: &'a mut Archive<R>,
    taken: u64,
}

impl<R: BufRead> sparse::Blocks for Counted<'_, R> {
    fn next_block(&mut self) -> Result<[u8; BLOCK]> {
        self.taken += BLOCK as u64;
        if self.archive.left < BLOCK as u64 {
            return Err(Error::invalid("a sparse map is longer than its file"));
        }
        let block = self.archive.need_block()?;
        self.archive.left -= BLOCK as u64;
        Ok(block)
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn cut_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|b| *b == 0) {
        text.truncate(end);
    }
    text
}

fn cut_short(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::invalid("the archive ends inside an entry"),
        _ => e.into(),
    }
}

fn named(e: Error, path: &[u8]) -> Error {
    e.context(format_args!("entry \"{}\"", path.escape_ascii()))
}

#[cfg(test)]
mod tests;
