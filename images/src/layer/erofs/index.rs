//! The file of an image's metadata, written from its beginning to its end, but for inodes that are
//! changed later.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format::{BLOCK, INODE, Inode, META, ROOT, SLOT, Xattrs};
use crate::error::{Error, Result};

/// Bytes that are held before they are written.
const BUFFER: usize = 1 << 20;
/// Room for the root's attributes, which are known late and its inode is first.
const ROOT_ROOM: u64 = 4096;
/// Where the data of sparse files lie: far behind the metadata, so that no inode is named by a
/// number beyond 32 bits. In between the file has no blocks.
const SPARSE: u64 = SLOT << 31;
/// Where the numbers of blocks of the index end.
const END: u64 = super::format::ARCHIVE as u64 * BLOCK;

pub(super) struct Index {
    file: File,
    /// What comes at `written` and is not in the file yet.
    held: Vec<u8>,
    written: u64,
    sparse_end: u64,
    /// Bytes of data in it.
    sparse: u64,
}

impl Index {
    pub(super) fn new(file: File) -> Index {
        let start = META + ROOT_ROOM;
        Index { file, held: Vec::new(), written: start, sparse_end: SPARSE, sparse: 0 }
    }

    /// Where the next byte goes.
    pub(super) fn end(&self) -> u64 {
        self.written + self.held.len() as u64
    }

    /// Bytes that it takes on the disk, and those that it has.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let has = if self.sparse == 0 { self.end() } else { self.sparse_end };
        (self.end() + self.sparse, has)
    }

    /// Writes an inode with its attributes and what follows it, and tells its slot. What is inline
    /// must lie in one block; what does not fit into one gets blocks of its own.
    pub(super) fn add(&mut self, inode: Inode, xattrs: &Xattrs, data: &[u8]) -> Result<u32> {
        let head = (INODE + xattrs.as_bytes().len()) as u64;
        let mut inode = Inode { xattrs: xattrs.as_bytes().len(), ..inode };
        if !data.is_empty() {
            inode.size = data.len() as u64;
            inode.is_inline = data.len() as u64 <= BLOCK / 2;
            if !inode.is_inline {
                inode.place = self.blocks(data)?;
            }
        }
        let mut at = self.end().next_multiple_of(SLOT);
        if inode.is_inline {
            while (at + head) % BLOCK + data.len() as u64 > BLOCK {
                at += SLOT;
            }
        }
        let slot = u32::try_from((at - META) / SLOT).ok().filter(|_| at < SPARSE);
        let slot = slot.ok_or_else(|| Error::invalid("more metadata than an index can have"))?;
        self.pad_to(at)?;
        self.put(&inode.encode(slot))?;
        self.put(xattrs.as_bytes())?;
        if inode.is_inline {
            self.put(data)?;
        }
        Ok(slot)
    }

    /// Writes the root's inode, for which there is room. Tells whether its attributes have fit.
    pub(super) fn set_root(&mut self, inode: Inode, xattrs: &Xattrs) -> Result<bool> {
        let at = META + u64::from(ROOT) * SLOT;
        let fits = at + (INODE + xattrs.as_bytes().len()) as u64 <= META + ROOT_ROOM;
        let none = Xattrs::default();
        let xattrs = if fits { xattrs } else { &none };
        let inode = Inode { xattrs: xattrs.as_bytes().len(), ..inode };
        self.file.write_all_at(&[&inode.encode(ROOT)[..], xattrs.as_bytes()].concat(), at)?;
        Ok(fits)
    }

    /// Writes what begins a block, and tells which.
    pub(super) fn blocks(&mut self, data: &[u8]) -> Result<u32> {
        let at = self.end().next_multiple_of(BLOCK);
        if at >= SPARSE {
            return Err(Error::invalid("more metadata than an index can have"));
        }
        self.pad_to(at)?;
        self.put(data)?;
        Ok((at / BLOCK) as u32)
    }

    /// An inode as it is, and its attributes.
    pub(super) fn get(&mut self, slot: u32) -> Result<(Inode, Xattrs)> {
        let inode = self.inode(slot)?;
        let xattrs = self.read(place(slot) + INODE as u64, inode.xattrs)?;
        Ok((inode, Xattrs::of(xattrs)))
    }

    /// The data of an inode that has them here: a symlink.
    pub(super) fn data(&mut self, slot: u32) -> Result<Vec<u8>> {
        let inode = self.inode(slot)?;
        let at = match inode.is_inline {
            true => place(slot) + (INODE + inode.xattrs) as u64,
            false => u64::from(inode.place) * BLOCK,
        };
        Ok(self.read(at, usize::try_from(inode.size).unwrap_or(usize::MAX).min(4096))?)
    }

    pub(super) fn inode(&mut self, slot: u32) -> Result<Inode> {
        let bytes = self.read(place(slot), INODE)?;
        let bytes = <&[u8; INODE]>::try_from(bytes.as_slice()).map_err(Error::invalid)?;
        Ok(Inode::decode(bytes))
    }

    /// Writes an inode again; its attributes and data stay.
    pub(super) fn set(&mut self, slot: u32, inode: &Inode) -> Result<()> {
        let bytes = inode.encode(slot);
        match place(slot).checked_sub(self.written).and_then(|at| usize::try_from(at).ok()) {
            Some(at) => self.held[at..at + INODE].copy_from_slice(&bytes),
            None => self.file.write_all_at(&bytes, place(slot))?,
        }
        Ok(())
    }

    /// Room for the data of a sparse file: its first block.
    pub(super) fn reserve(&mut self, size: u64) -> Result<u32> {
        let at = self.sparse_end;
        let end = at.checked_add(size.next_multiple_of(BLOCK)).filter(|end| *end <= END);
        self.sparse_end = end.ok_or_else(|| {
            Error::invalid(format_args!("a sparse file of {size} bytes is too large for an index"))
        })?;
        Ok((at / BLOCK) as u32)
    }

    /// Writes some of it.
    pub(super) fn fill(&mut self, block: u32, offset: u64, data: &[u8]) -> Result<()> {
        self.sparse += data.len() as u64;
        Ok(self.file.write_all_at(data, u64::from(block) * BLOCK + offset)?)
    }

    /// Writes all that is held, and the beginning. The file ends with a whole block.
    pub(super) fn finish(mut self, beginning: &[u8]) -> Result<File> {
        self.flush()?;
        self.file.write_all_at(beginning, 0)?;
        let (_, has) = self.sizes();
        self.file.set_len(has.next_multiple_of(META))?;
        Ok(self.file)
    }

    fn pad_to(&mut self, at: u64) -> io::Result<()> {
        let padding = usize::try_from(at - self.end()).map_err(io::Error::other)?;
        self.put(&vec![0; padding])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend(bytes);
        if self.held.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.held, self.written)?;
        self.written += self.held.len() as u64;
        self.held.clear();
        Ok(())
    }

    fn read(&mut self, at: u64, size: usize) -> io::Result<Vec<u8>> {
        let in_held = at.checked_sub(self.written).and_then(|at| usize::try_from(at).ok());
        if let Some(bytes) = in_held.and_then(|at| self.held.get(at..at + size)) {
            return Ok(bytes.to_vec());
        }
        if at + size as u64 > self.written {
            self.flush()?;
        }
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn place(slot: u32) -> u64 {
    META + u64::from(slot) * SLOT
}
