//! The end of an index: its directories, and the superblock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::attributes;
use super::format::{BLOCK, Dirent, Inode, Kind, META, ROOT, Super, Xattrs, directory_block};
use super::index::Index;
use super::tree::{Id, Sorted};
use super::writer::{Writer, resolve};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::layer::entries::{AUFS_LINKS, OVERLAY_OPAQUE};
use crate::layer::facts::{DIR_MODE, Facts, Format, path_text};

/// Where the lengths of the metadata and of the archive are noted and a hash, in the part of the file
/// that the kernel does not read.
const SEAL: usize = 2048;
const PIECE: usize = 256 << 10;

/// What lies in an image beside the entries of its layer: its folder, the index and the archive.
const INODES: u64 = 3;

impl Writer {
    /// Writes the directories, in which every inode is by now, and what the image begins with.
    pub(crate) fn finish(mut self, archive: u64, diff_id: &Digest) -> Result<Facts> {
        if let Some(links) = self.tree.child(Id::ROOT, AUFS_LINKS)
            && self.tree.get(links).slot == 0
        {
            self.tree.remove(links);
        }
        let tree = std::mem::replace(&mut self.tree, super::tree::Tree::new());
        let mut sorted = tree.sorted();
        let directories = sorted.directories();
        for file in sorted.files_outside(&directories) {
            self.forget_name(sorted.tree.get(file).slot)?;
        }
        let implied = self.implied(&sorted, &directories)?;
        for dir in &directories[1..] {
            self.place(&mut sorted, *dir).context(sorted.tree.path(*dir)?)?;
        }
        for dir in &directories {
            self.write(&sorted, *dir).context(sorted.tree.path(*dir)?)?;
        }
        let (takes, has) = self.index.sizes();
        let metadata = self.index.end();
        let uuid = uuid(diff_id);
        let inodes = sorted.len() as u64 + 1;
        let beginning = Super { inodes, index: has, archive, uuid }.encode();
        let file = self.index.finish(&beginning)?;
        seal(&file, metadata, archive)?;
        let bytes = takes.next_multiple_of(4096) + archive.next_multiple_of(4096) + 4096;
        let (is_opaque, format) = (self.is_opaque, Format::Erofs);
        Ok(Facts { bytes, inodes: INODES, implied, is_opaque, split: 0, format })
    }

    /// The directories that no entry describes.
    fn implied(&self, sorted: &Sorted, directories: &[Id]) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for dir in directories {
            let is_implied = match *dir == Id::ROOT {
                true => self.root.is_none(),
                false => sorted.tree.get(*dir).slot == 0,
            };
            if is_implied {
                paths.push(sorted.tree.path(*dir)?);
            }
        }
        paths.sort();
        Ok(paths.iter().map(path_text).collect())
    }

    /// Sees to it that a directory has an inode, and one that hides what is below the mark for it.
    fn place(&mut self, sorted: &mut Sorted, dir: Id) -> Result<()> {
        let node = sorted.tree.get(dir);
        if node.slot != 0 && !node.is_opaque {
            return Ok(());
        }
        let (inode, mut xattrs) = match node.slot {
            0 => (default_directory(), Xattrs::default()),
            slot => self.index.get(slot)?,
        };
        if node.is_opaque {
            xattrs.add(OVERLAY_OPAQUE.to_bytes(), b"y");
        }
        sorted.tree.get_mut(dir).slot = self.index.add(inode, &xattrs, &[])?;
        Ok(())
    }

    /// Writes what a directory has, and notes in its inode where that is.
    fn write(&mut self, sorted: &Sorted, dir: Id) -> Result<()> {
        let of = |id: Id| if id == Id::ROOT { ROOT } else { sorted.tree.get(id).slot };
        let (slot, parent) = (of(dir), of(sorted.tree.parent(dir)));
        let dot = |name: &'static [u8], slot| Dirent { name, slot, kind: Kind::Directory };
        let mut dots = [dot(b".", slot), dot(b"..", parent)].into_iter().peekable();
        let mut blocks = Blocks::new(&mut self.index);
        let mut links = 2_u32;
        for child in sorted.children(dir) {
            let (node, name) = (sorted.tree.get(child), sorted.tree.name(child));
            // Some names come before the dots.
            while let Some(dot) = dots.next_if(|dot| dot.name < name) {
                blocks.add(dot)?;
            }
            links = links.saturating_add(node.is_dir().into());
            blocks.add(Dirent { name, slot: resolve(&self.moved, node.slot), kind: node.kind })?;
        }
        dots.try_for_each(|dot| blocks.add(dot))?;
        let (place, size) = blocks.finish()?;
        let at = |inode: Inode| Inode { place, size, links, ..inode };
        if dir != Id::ROOT {
            let inode = self.index.inode(slot)?;
            return self.index.set(slot, &at(inode));
        }
        let (inode, xattrs) =
            self.root.take().unwrap_or_else(|| (default_directory(), Xattrs::default()));
        match self.index.set_root(at(inode), &xattrs)? {
            true => Ok(()),
            false => Err(Error::invalid("its attributes are too large")),
        }
    }
}

fn default_directory() -> Inode {
    Inode { mode: DIR_MODE.bits(), ..attributes::plain(Kind::Directory, 0) }
}

/// The blocks of a directory, one after the other.
struct Blocks<'a, 'b> {
    index: &'a mut Index,
    /// Those of the block that is not written yet, and what they take.
    entries: Vec<Dirent<'b>>,
    used: usize,
    first: Option<u32>,
    size: u64,
}

impl<'a, 'b> Blocks<'a, 'b> {
    fn new(index: &'a mut Index) -> Blocks<'a, 'b> {
        Blocks { index, entries: Vec::new(), used: 0, first: None, size: 0 }
    }

    fn add(&mut self, entry: Dirent<'b>) -> Result<()> {
        if self.used + entry.size() > BLOCK as usize {
            self.end_block(true)?;
        }
        self.used += entry.size();
        self.entries.push(entry);
        Ok(())
    }

    fn end_block(&mut self, is_followed: bool) -> Result<()> {
        let mut block = directory_block(&self.entries);
        if is_followed {
            block.resize(BLOCK as usize, 0);
        }
        let at = self.index.blocks(&block)?;
        self.first.get_or_insert(at);
        self.size += block.len() as u64;
        self.entries.clear();
        self.used = 0;
        Ok(())
    }

    /// Where they are, and how long they are together.
    fn finish(mut self) -> Result<(u32, u64)> {
        self.end_block(false)?;
        Ok((self.first.unwrap_or(0), self.size))
    }
}

/// Overlayfs tells file systems by it.
fn uuid(diff_id: &Digest) -> [u8; 16] {
    let hex = diff_id.hex().as_bytes();
    std::array::from_fn(|at| {
        let digits = hex.get(2 * at..2 * at + 2).and_then(|two| std::str::from_utf8(two).ok());
        digits.and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(0)
    })
}

fn seal(file: &File, metadata: u64, archive: u64) -> Result<()> {
    let hash = hash(file, metadata)?;
    let lengths = [metadata.to_le_bytes(), archive.to_le_bytes()].concat();
    let text = [&lengths, hash.hex().as_bytes()].concat();
    Ok(file.write_all_at(&text, SEAL as u64)?)
}

/// Whether the metadata are still as they were written; and how long the archive is.
///
/// # Errors
/// `Invalid` where they are not.
pub(crate) fn check(file: &File) -> Result<u64> {
    let broken = || Error::new(ErrorKind::Invalid, "the index is not as it was written");
    let mut text = [0; 16 + 64];
    file.read_exact_at(&mut text, SEAL as u64).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => broken(),
        _ => e.into(),
    })?;
    let (lengths, wanted) = text.split_at(16);
    let length = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| lengths[at + n]));
    let metadata = length(0);
    if metadata > file.metadata()?.len() || hash(file, metadata)?.hex().as_bytes() != wanted {
        return Err(broken());
    }
    Ok(length(8))
}

/// Of what the kernel reads.
fn hash(file: &File, metadata: u64) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; PIECE];
    for (mut at, end) in [(0, SEAL as u64), (META, metadata)] {
        while at < end {
            let size = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut piece[..size], at)?;
            hasher.update(&piece[..size]);
            at += size as u64;
        }
    }
    Ok(hasher.finish())
}
