//! One tar entry after the other becomes a file in the layer's directory.
//!
//! The last entry of a path wins, in all that it says. A path may lead through symlinks of its own
//! layer, absolute and dangling ones too: they are resolved as in a chroot, and the kernel keeps
//! every lookup within the layer's directory ([`rrun_sys::root::Rule::InRoot`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, makedev};
use nix::unistd::{getegid, geteuid};
use rrun_sys::root::{Place, RelPath, RootDir};
use rrun_sys::xattr;

use super::attributes::EntryAttributes;
use super::entries::{AUFS_LINKS, OVERLAY_OPAQUE, Target, link_target};
use super::facts::{DIR_MODE, Facts, HELD, MOST_DESCRIBED, MOST_IMPLIED, path_text};
use super::lookup::{escape, follow};
use super::write_back::WriteBack;
use crate::error::{Context, Error, Kind, Result};
use crate::tar::{Archive, Entry, EntryKind};

const FILE_MODE: Mode = Mode::from_bits_truncate(0o600);

pub(super) struct Unpacker {
    root: RootDir,
    /// The directory of the last entry, as most entries follow others of theirs.
    last: Option<(RelPath, RootDir)>,
    /// Described directories: their modes and times are set last, because of what is made in
    /// them.
    dirs: BTreeMap<RelPath, EntryAttributes>,
    facts: Facts,
    implied: BTreeSet<RelPath>,
    /// Bytes of `dirs` and of `implied`, those counted too that have gone again.
    held: (usize, usize),
    ids: (u32, u32),
    disk: WriteBack,
    /// Whether something of this layer was replaced by what came later in it.
    is_rewritten: bool,
}

impl Unpacker {
    pub(super) fn new(root: RootDir) -> Result<Unpacker> {
        // Whatever the umask is.
        nix::sys::stat::fchmod(root.fd(), DIR_MODE)?;
        let implied = [RelPath::default()].into();
        let ids = (geteuid().as_raw(), getegid().as_raw());
        Ok(Unpacker {
            root,
            last: None,
            dirs: BTreeMap::new(),
            facts: Facts::default(),
            implied,
            held: (0, 0),
            ids,
            disk: WriteBack::default(),
            is_rewritten: false,
        })
    }

    /// The open parent directory, made if no entry described it. `path` is a real one.
    fn parent(&mut self, path: &RelPath) -> Result<&RootDir> {
        if path.is_root() {
            return Ok(&self.root);
        }
        if self.last.as_ref().is_none_or(|(at, _)| at != path) {
            let dir = match self.root.dir(path) {
                Ok(dir) => dir,
                Err(e) => self.imply(path, e)?,
            };
            self.last = Some((path.clone(), dir));
        }
        // Set just above.
        self.last
            .as_ref()
            .map(|(_, dir)| dir)
            .ok_or_else(|| Error::new(Kind::Internal, "its parent directory is not open"))
    }

    fn imply(&mut self, path: &RelPath, why: io::Error) -> Result<RootDir> {
        match why.raw_os_error() {
            Some(nix::libc::ENOENT) => {}
            Some(nix::libc::ENOTDIR) => self.clear_whiteouts(path)?,
            _ => return Err(escape(why, path)),
        }
        let made = self.root.mkdir_all(path, DIR_MODE).map_err(|e| escape(e, path))?;
        self.facts.inodes += made.len() as u64;
        self.hold_implied(made)?;
        self.root.dir(path).map_err(|e| escape(e, path))
    }

    fn hold_implied(&mut self, made: Vec<RelPath>) -> Result<()> {
        self.held.1 += made.iter().map(|path| path.as_bytes().len() + HELD).sum::<usize>();
        if self.held.1 > MOST_IMPLIED {
            return Err(Error::invalid("too many directories without an entry"));
        }
        self.implied.extend(made);
        Ok(())
    }

    /// A whiteout on the way to `path` becomes a directory that hides what it hid.
    fn clear_whiteouts(&mut self, path: &RelPath) -> Result<()> {
        let names: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').collect();
        let mut at = RelPath::default();
        for name in names {
            at = at.join(name)?;
            let place = self.root.place(&at).map_err(|e| escape(e, &at))?;
            if is_whiteout(&place)? {
                place.unlink()?;
                place.mkdir(DIR_MODE)?;
                self.hold_implied(vec![at.clone()])?;
                self.mark_opaque(&at)?;
            }
        }
        Ok(())
    }

    fn mark_opaque(&self, path: &RelPath) -> Result<()> {
        let dir = self.root.dir(path).map_err(|e| escape(e, path))?;
        Ok(xattr::set(dir.fd(), OVERLAY_OPAQUE, b"y")?)
    }

    fn replace_by_dir(&mut self, path: &RelPath, place: &Place) -> Result<()> {
        if place.is_dir()? {
            return Ok(());
        }
        let hides = is_whiteout(place)?;
        self.last = None;
        self.is_rewritten |= !hides;
        place.unlink()?;
        place.mkdir(DIR_MODE)?;
        if hides { self.mark_opaque(path) } else { Ok(()) }
    }

    /// Makes room for an entry that comes a second time. A directory goes with its content and
    /// is described no more.
    fn clear(&mut self, parent: &RelPath, place: &Place) -> Result<()> {
        self.last = None;
        self.is_rewritten = true;
        if place.is_dir()? {
            self.forget(&parent.join(place.name().to_bytes())?);
        }
        Ok(place.remove_tree()?)
    }

    /// Forgets what is known of a directory and of those below it.
    fn forget(&mut self, path: &RelPath) {
        self.dirs.remove(path);
        self.implied.remove(path);
        // Those below stand together in the order of bytes; this is the first name there can be.
        let Ok(first) = path.join(b"\x01") else { return };
        let below = self.dirs.range(first.clone()..).map(|(dir, _)| dir);
        let below: Vec<RelPath> = below.take_while(|dir| dir.is_within(path)).cloned().collect();
        for dir in &below {
            self.dirs.remove(dir);
        }
        let below: Vec<RelPath> =
            self.implied.range(first..).take_while(|dir| dir.is_within(path)).cloned().collect();
        for dir in &below {
            self.implied.remove(dir);
        }
    }

    fn count(&mut self, stored: u64) {
        self.facts.inodes += 1;
        self.facts.bytes += stored.next_multiple_of(4096);
    }

    /// Sets what had to wait, deepest directories first. Tells beside the facts whether all that
    /// the archive has is there.
    pub(super) fn finish(mut self) -> Result<(Facts, bool)> {
        self.last = None;
        let links = RelPath::parse(AUFS_LINKS)?;
        if self.implied.contains(&links) {
            self.forget(&links);
            self.is_rewritten = true;
            self.root.remove_tree(&links)?;
        }
        for (path, want) in self.dirs.iter().rev() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let dir = self.root.open_at(path, flags, Mode::empty());
            let dir = std::fs::File::from(dir.context(path)?);
            want.set_file(&dir, self.ids).context(path)?;
        }
        self.facts.bytes += self.dirs.len() as u64 * 4096;
        self.facts.implied = self.implied.iter().map(path_text).collect();
        Ok((self.facts, !self.is_rewritten))
    }
}

impl Target for Unpacker {
    fn real(&mut self, path: &RelPath) -> Result<RelPath> {
        if path.is_root() || self.last.as_ref().is_some_and(|(at, _)| at == path) {
            return Ok(path.clone());
        }
        match self.root.dir_without_links(path) {
            Ok(dir) => {
                self.last = Some((path.clone(), dir));
                Ok(path.clone())
            }
            Err(e) if e.raw_os_error() == Some(nix::libc::ELOOP) => follow(&self.root, path),
            // What is there of it has no links.
            Err(_) => Ok(path.clone()),
        }
    }

    fn opaque(&mut self, path: &RelPath) -> Result<()> {
        if path.is_root() {
            self.facts.is_opaque = true;
            return Ok(());
        }
        self.parent(path)?;
        self.mark_opaque(path)
    }

    fn whiteout(&mut self, parent: &RelPath, hidden: &[u8]) -> Result<()> {
        let place = self.parent(parent)?.child(hidden)?;
        if place.is_dir()? {
            return self.mark_opaque(&parent.join(hidden)?);
        }
        if place.stat()?.is_none() {
            place.mknod(SFlag::S_IFCHR, Mode::empty(), 0)?;
            self.facts.inodes += 1;
        }
        Ok(())
    }

    fn directory(&mut self, path: RelPath, entry: &Entry) -> Result<()> {
        let attributes = EntryAttributes::of(entry)?;
        if let Some((parent, name)) = path.split() {
            let place = self.parent(&parent)?.child(name)?;
            match place.mkdir(DIR_MODE) {
                Ok(()) => self.facts.inodes += 1,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    self.replace_by_dir(&path, &place)?;
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.implied.remove(&path);
        self.held.0 += path.as_bytes().len() + attributes.size() + HELD;
        if self.held.0 > MOST_DESCRIBED {
            return Err(Error::invalid("too many directories, or too large attributes of theirs"));
        }
        self.dirs.insert(path, attributes);
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
        let place = self.parent(parent)?.child(name)?;
        let mut file = match place.create_file(FILE_MODE) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.clear(parent, &place)?;
                place.create_file(FILE_MODE)?
            }
            done => done?,
        };
        let stored = match &entry.sparse {
            None => self.disk.copy(&mut file, data)?,
            Some(map) => {
                let mut at = 0;
                for segment in map {
                    copy_at(&file, segment.offset, segment.length, data)?;
                    at += segment.length;
                }
                file.set_len(entry.size)?;
                at
            }
        };
        self.count(stored);
        attributes.set_file(&file, self.ids)
    }

    fn special(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()> {
        let attributes = EntryAttributes::of(entry)?;
        let place = self.parent(parent)?.child(name)?;
        if place.stat()?.is_some() {
            self.clear(parent, &place)?;
        }
        let device = makedev(entry.device.0, entry.device.1);
        match entry.kind {
            EntryKind::Symlink => place.symlink(&entry.link)?,
            EntryKind::CharDevice => place.mknod(SFlag::S_IFCHR, FILE_MODE, device)?,
            EntryKind::BlockDevice => place.mknod(SFlag::S_IFBLK, FILE_MODE, device)?,
            _ => place.mknod(SFlag::S_IFIFO, FILE_MODE, 0)?,
        }
        self.count(0);
        attributes.set_place(&place, entry.kind != EntryKind::Symlink)
    }

    fn hard_link(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()> {
        let shown = entry.link.escape_ascii();
        let attributes = EntryAttributes::of(entry)?;
        let target = link_target(self, entry)?;
        let existing = self.root.place(&target).map_err(|e| escape(e, &target))?;
        let Some(stat) = existing.stat()? else {
            let why = format!("hard link to \"{shown}\", which is not in this layer");
            return Err(Error::invalid(why));
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            return Err(Error::invalid(format_args!("hard link to \"{shown}\", a directory")));
        }
        let place = self.parent(parent)?.child(name)?;
        let there = place.stat()?;
        let is_same = |t: &FileStat| (t.st_dev, t.st_ino) == (stat.st_dev, stat.st_ino);
        if !there.as_ref().is_some_and(is_same) {
            if there.is_some() {
                self.clear(parent, &place)?;
            }
            place.link_from(&existing)?;
        }
        // As containerd does: what the last entry of a file says counts for all of its names.
        attributes.set_place(&place, kind != SFlag::S_IFLNK)
    }
}

fn copy_at<R: BufRead>(
    file: &std::fs::File,
    mut at: u64,
    mut left: u64,
    data: &mut Archive<R>,
) -> Result<()> {
    while left > 0 {
        let piece = data.data()?;
        let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if n == 0 {
            return Err(Error::invalid("a sparse file ends early"));
        }
        file.write_all_at(&piece[..n], at)?;
        data.consume(n);
        at += n as u64;
        left -= n as u64;
    }
    Ok(())
}

fn is_whiteout(place: &Place) -> Result<bool> {
    Ok(place.stat()?.is_some_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
            && stat.st_rdev == 0
    }))
}
