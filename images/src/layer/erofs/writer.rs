//! One tar entry after the other becomes a name and an inode of the image. The archive itself lies
//! beside the index, and the data of files stay where they are in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufRead;

use rrun_sys::root::RelPath;

use super::attributes;
use super::format::{ARCHIVE, BLOCK, Inode, Kind, Xattrs, device};
use super::index::Index;
use super::tree::{Id, Node, Tree};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::layer::attributes::EntryAttributes;
use crate::layer::entries::{Target, link_target};
use crate::layer::facts::{HELD, MOST_DESCRIBED, MOST_IMPLIED};
use crate::tar::{Archive, Entry, EntryKind};

/// The kernel's own limits for a lookup, see [`crate::layer::lookup`].
const MOST_LINKS: usize = 40;
const MOST_TURNS: usize = 255;
/// PATH_MAX without the NUL.
const LONGEST_TARGET: usize = 4095;

pub(crate) struct Writer {
    pub(super) tree: Tree,
    pub(super) index: Index,
    /// What an entry says of the root.
    pub(super) root: Option<(Inode, Xattrs)>,
    pub(super) is_opaque: bool,
    /// Inodes that had to be written again elsewhere, because they got attributes.
    pub(super) moved: HashMap<u32, u32>,
    /// The one inode of all whiteouts.
    whiteout: Option<u32>,
    /// The directory of the last entry, as most entries follow others of theirs.
    last: Option<(RelPath, Id)>,
    /// Bytes of what is described and of what is implied, as the directory format counts them.
    held: (usize, usize),
}

impl Writer {
    /// Writes the index into a new file.
    pub(crate) fn new(index: File) -> Writer {
        Writer {
            tree: Tree::new(),
            index: Index::new(index),
            root: None,
            is_opaque: false,
            moved: HashMap::new(),
            whiteout: None,
            last: None,
            held: (0, 0),
        }
    }

    /// The parent directory, made if no entry described it. `path` is a real one.
    fn parent(&mut self, path: &RelPath) -> Result<Id> {
        if let Some((last, id)) = &self.last
            && last == path
        {
            return Ok(*id);
        }
        let (mut at, rest) = self.tree.walk(path);
        for name in rest {
            at = self.imply(at, name, path)?;
        }
        self.last = Some((path.clone(), at));
        Ok(at)
    }

    /// Makes a directory on the way to `path`. A whiteout becomes one that hides what it hid.
    fn imply(&mut self, parent: Id, name: &[u8], path: &RelPath) -> Result<Id> {
        let mut node = Node::new(Kind::Directory, 0);
        match self.tree.child(parent, name) {
            None => {}
            Some(child) if self.tree.get(child).is_dir() => return Ok(child),
            Some(child) if self.tree.get(child).is_whiteout => {
                self.tree.remove(child);
                node.is_opaque = true;
            }
            Some(_) => return Err(Error::invalid(format_args!("{path} is not a directory"))),
        }
        let made = self.tree.add(parent, name, node)?;
        self.held.1 += self.tree.path(made)?.as_bytes().len() + HELD;
        if self.held.1 > MOST_IMPLIED {
            return Err(Error::invalid("too many directories without an entry"));
        }
        Ok(made)
    }

    /// `path` without the symlinks on the way, as [`crate::layer::lookup::follow`] finds it on disk.
    fn follow(&mut self, path: &RelPath) -> Result<RelPath> {
        let too_many = |what| Error::invalid(format_args!("too many {what} in {path}"));
        let (mut links, mut turns, mut is_turned) = (0, 0, true);
        // Each name with the directory that it leads to, if there is one.
        let mut real: Vec<(Vec<u8>, Option<Id>)> = Vec::new();
        let mut rest = names(path.as_bytes());
        while let Some(name) = rest.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    real.pop();
                    is_turned = true;
                    continue;
                }
                _ => {}
            }
            turns += usize::from(std::mem::take(&mut is_turned));
            if turns > MOST_TURNS {
                return Err(too_many("turns of symlinks"));
            }
            let at = real.last().map_or(Some(Id::ROOT), |(_, dir)| *dir);
            let child = at.and_then(|dir| self.tree.child(dir, &name));
            let node = child.map(|child| self.tree.get(child));
            let Some(Node { kind: Kind::Symlink, slot, .. }) = node else {
                real.push((name, child.filter(|_| node.is_some_and(|node| node.is_dir()))));
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(too_many("symlinks"));
            }
            let target = self.index.data(slot)?;
            if target.starts_with(b"/") {
                real.clear();
                is_turned = true;
            }
            rest.extend(names(&target));
        }
        let real: Vec<Vec<u8>> = real.into_iter().map(|(name, _)| name).collect();
        Ok(RelPath::parse(real.join(&b'/'))?)
    }

    /// Makes room for an entry that comes a second time. A directory goes with its content.
    fn clear(&mut self, parent: Id, name: &[u8]) -> Result<()> {
        let Some(child) = self.tree.child(parent, name) else { return Ok(()) };
        let node = self.tree.get(child);
        self.tree.remove(child);
        self.last = None;
        if !node.is_dir() && !node.is_whiteout {
            self.forget_name(node.slot)?;
        }
        Ok(())
    }

    /// An inode has a name less.
    pub(super) fn forget_name(&mut self, slot: u32) -> Result<()> {
        let slot = self.slot(slot);
        let mut inode = self.index.inode(slot)?;
        if inode.links > 1 {
            inode.links -= 1;
            self.index.set(slot, &inode)?;
        }
        Ok(())
    }

    /// Where an inode is by now.
    fn slot(&self, slot: u32) -> u32 {
        resolve(&self.moved, slot)
    }

    /// Makes an inode and its name, which takes the place of what has it.
    fn make(
        &mut self,
        (parent, name): (&RelPath, &[u8]),
        inode: Inode,
        entry: &EntryAttributes,
        data: &[u8],
    ) -> Result<Id> {
        let parent = self.parent(parent)?;
        self.clear(parent, name)?;
        let xattrs = attributes::of(entry, inode.kind, Xattrs::default())?;
        let slot = self.index.add(attributes::set(entry, inode), &xattrs, data)?;
        let mut node = Node::new(inode.kind, slot);
        node.is_whiteout = inode.kind == Kind::CharDevice && inode.place == 0;
        self.tree.add(parent, name, node)
    }

    /// Copies the data of a sparse file to where they can lie as the file has them.
    fn sparse<R: BufRead>(&mut self, entry: &Entry, data: &mut Archive<R>) -> Result<u32> {
        let block = self.index.reserve(entry.size)?;
        for segment in entry.sparse.iter().flatten() {
            let (mut at, mut left) = (segment.offset, segment.length);
            while left > 0 {
                let piece = data.data()?;
                let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if n == 0 {
                    return Err(Error::invalid("a sparse file ends early"));
                }
                self.index.fill(block, at, &piece[..n])?;
                data.consume(n);
                at += n as u64;
                left -= n as u64;
            }
        }
        Ok(block)
    }
}

impl Target for Writer {
    fn real(&mut self, path: &RelPath) -> Result<RelPath> {
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(path.clone());
        }
        let (at, rest) = self.tree.walk(path);
        let stop = rest.first().and_then(|name| self.tree.child(at, name));
        match stop.map(|id| self.tree.get(id).kind) {
            Some(Kind::Symlink) => self.follow(path),
            _ => Ok(path.clone()),
        }
    }

    fn opaque(&mut self, path: &RelPath) -> Result<()> {
        if path.is_root() {
            self.is_opaque = true;
            return Ok(());
        }
        let dir = self.parent(path)?;
        self.tree.get_mut(dir).is_opaque = true;
        Ok(())
    }

    fn whiteout(&mut self, parent: &RelPath, hidden: &[u8]) -> Result<()> {
        let parent = self.parent(parent)?;
        match self.tree.child(parent, hidden) {
            Some(child) if self.tree.get(child).is_dir() => {
                self.tree.get_mut(child).is_opaque = true;
            }
            Some(_) => {}
            None => {
                let slot = match self.whiteout {
                    Some(slot) => slot,
                    None => {
                        let none = Xattrs::default();
                        self.index.add(attributes::plain(Kind::CharDevice, 0), &none, &[])?
                    }
                };
                self.whiteout = Some(slot);
                let mut node = Node::new(Kind::CharDevice, slot);
                node.is_whiteout = true;
                self.tree.add(parent, hidden, node)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: RelPath, entry: &Entry) -> Result<()> {
        let entry = EntryAttributes::of(entry)?;
        let inode = attributes::set(&entry, attributes::plain(Kind::Directory, 0));
        let xattrs = attributes::of(&entry, Kind::Directory, Xattrs::default())?;
        self.held.0 += path.as_bytes().len() + entry.size() + HELD;
        if self.held.0 > MOST_DESCRIBED {
            return Err(Error::invalid("too many directories, or too large attributes of theirs"));
        }
        let Some((parent, name)) = path.split() else {
            self.root = Some((inode, xattrs));
            return Ok(());
        };
        let parent = self.parent(&parent)?;
        let mut node = Node::new(Kind::Directory, 0);
        let there = self.tree.child(parent, name);
        let dir = match there.filter(|there| self.tree.get(*there).is_dir()) {
            Some(dir) => dir,
            None => {
                node.is_opaque = there.is_some_and(|there| self.tree.get(there).is_whiteout);
                self.clear(parent, name)?;
                self.tree.add(parent, name, node)?
            }
        };
        self.tree.get_mut(dir).slot = self.index.add(inode, &xattrs, &[])?;
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &RelPath,
        name: &[u8],
        entry: &Entry,
        data: &mut Archive<R>,
    ) -> Result<()> {
        let attributes = EntryAttributes::of(entry)?;
        let place = match &entry.sparse {
            Some(_) => self.sparse(entry, data)?,
            None if entry.size == 0 => 0,
            None => block_of(data.position(), entry.size)?,
        };
        let inode = Inode { size: entry.size, ..attributes::plain(Kind::File, place) };
        self.make((parent, name), inode, &attributes, &[]).map(drop)
    }

    fn special(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()> {
        let attributes = EntryAttributes::of(entry)?;
        let kind = match entry.kind {
            EntryKind::Symlink => Kind::Symlink,
            EntryKind::CharDevice => Kind::CharDevice,
            EntryKind::BlockDevice => Kind::BlockDevice,
            _ => Kind::Fifo,
        };
        if kind == Kind::Symlink {
            let is_good = (1..=LONGEST_TARGET).contains(&entry.link.len());
            if !is_good || entry.link.contains(&0) {
                return Err(Error::invalid("a symlink to what is no path"));
            }
            let inode = attributes::plain(kind, 0);
            return self.make((parent, name), inode, &attributes, &entry.link).map(drop);
        }
        let place = match kind {
            Kind::Fifo => 0,
            _ => device(entry.device).ok_or_else(|| {
                Error::invalid(format_args!("there is no device {:?}", entry.device))
            })?,
        };
        self.make((parent, name), attributes::plain(kind, place), &attributes, &[]).map(drop)
    }

    fn hard_link(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()> {
        let attributes = EntryAttributes::of(entry)?;
        let target = link_target(self, entry)?;
        let shown = entry.link.escape_ascii();
        let (at, rest) = self.tree.walk(&target);
        let existing = match rest.as_slice() {
            [] => {
                return Err(Error::invalid(format_args!("hard link to \"{shown}\", a directory")));
            }
            [last] => self.tree.child(at, last),
            _ => None,
        };
        let existing = existing.ok_or_else(|| {
            Error::invalid(format_args!("hard link to \"{shown}\", which is not in this layer"))
        })?;
        let node = self.tree.get(existing);
        let parent = self.parent(parent)?;
        let there = self.tree.child(parent, name);
        let slot = self.slot(node.slot);
        let is_same = |id: Id| {
            let other = self.tree.get(id);
            !other.is_dir() && self.slot(other.slot) == slot
        };
        let is_new = !there.is_some_and(is_same);
        if is_new {
            self.clear(parent, name)?;
            // What was cleared may have been a directory with the target in it.
            if self.tree.walk(&target).1.len() != 1 {
                return Err(Error::invalid(format_args!("hard link over \"{shown}\" itself")));
            }
            self.tree.add(parent, name, node)?;
        }
        if node.is_whiteout {
            return Ok(());
        }
        self.relabel(slot, &attributes, is_new)
    }
}

impl Writer {
    /// Gives an inode what the entry of another of its names says.
    fn relabel(&mut self, slot: u32, entry: &EntryAttributes, is_new: bool) -> Result<()> {
        let mut inode = attributes::set(entry, self.index.inode(slot)?);
        inode.links = inode.links.saturating_add(is_new.into());
        if entry.xattrs.is_empty() {
            return self.index.set(slot, &inode);
        }
        let (_, xattrs) = self.index.get(slot)?;
        let with = attributes::of(entry, inode.kind, xattrs.clone())?;
        if with == xattrs {
            return self.index.set(slot, &inode);
        }
        let data = if inode.kind == Kind::Symlink { self.index.data(slot)? } else { Vec::new() };
        let next = self.index.add(inode, &with, &data)?;
        self.moved.insert(slot, next);
        Ok(())
    }
}

/// Where an inode is that may have moved.
pub(super) fn resolve(moved: &HashMap<u32, u32>, mut slot: u32) -> u32 {
    while let Some(next) = moved.get(&slot) {
        slot = *next;
    }
    slot
}

/// The block in which the data begin that come next in the archive.
fn block_of(position: u64, size: u64) -> Result<u32> {
    if !position.is_multiple_of(BLOCK) {
        return Err(Error::new(ErrorKind::Internal, "its data begin within a block"));
    }
    let end = position.checked_add(size).map(|end| end.div_ceil(BLOCK));
    let last = end.and_then(|end| u64::from(ARCHIVE).checked_add(end));
    last.and_then(|last| u32::try_from(last).ok())
        .ok_or_else(|| Error::invalid("the archive is larger than 512 GiB"))
        .context("its data")?;
    Ok(ARCHIVE + (position / BLOCK) as u32)
}

/// The names of a path, the last one first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect()
}
