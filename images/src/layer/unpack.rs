//! One tar entry after the other becomes a file in the layer's directory.

use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, makedev};
use nix::sys::time::TimeSpec;
use nix::unistd::{getegid, geteuid};
use rrun_sys::root::{Place, RelPath, RootDir};
use rrun_sys::xattr;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::tar::{Archive, Entry, EntryKind};

/// What is known of an unpacked layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Bytes on disk, in blocks of 4 KiB.
    pub bytes: u64,
    /// Files, directories and the like; hard links once.
    pub inodes: u64,
    /// Directories that no entry describes, for which the layers below may have the owner and
    /// mode; the root is the empty path.
    pub implied: Vec<String>,
    /// The layer hides everything below it.
    pub is_opaque: bool,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";
/// What overlayfs reads in a directory that hides the ones below it.
pub(super) const OVERLAY_OPAQUE: &std::ffi::CStr = c"trusted.overlay.opaque";
pub(super) const DIR_MODE: Mode = Mode::from_bits_truncate(0o755);
const FILE_MODE: Mode = Mode::from_bits_truncate(0o600);

pub(super) struct Unpacker {
    root: RootDir,
    /// The directory of the last entry, as most entries follow others of theirs.
    last: Option<(RelPath, RootDir)>,
    /// Described directories: their modes and times are set last, because of what is made in
    /// them.
    dirs: Vec<(RelPath, Attributes)>,
    facts: Facts,
    implied: std::collections::BTreeSet<RelPath>,
    ids: (u32, u32),
}

struct Attributes {
    uid: u32,
    gid: u32,
    mode: Mode,
    mtime: TimeSpec,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Unpacker {
    pub(super) fn new(root: RootDir) -> Result<Unpacker> {
        // Whatever the umask is.
        nix::sys::stat::fchmod(root.fd(), DIR_MODE)?;
        let implied = [RelPath::default()].into();
        let ids = (geteuid().as_raw(), getegid().as_raw());
        Ok(Unpacker { root, last: None, dirs: Vec::new(), facts: Facts::default(), implied, ids })
    }

    /// Makes what `entry` says, its data taken from the archive.
    pub(super) fn apply<R: BufRead>(&mut self, entry: &Entry, data: &mut Archive<R>) -> Result<()> {
        self.entry(entry, data).context(format_args!("entry \"{}\"", entry.path.escape_ascii()))
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, data: &mut Archive<R>) -> Result<()> {
        let path = RelPath::parse(&entry.path)?;
        let Some((parent, name)) = path.split() else {
            return self.directory(path, entry);
        };
        if name == OPAQUE {
            return self.opaque(&parent);
        }
        // aufs' own files, which very old images have.
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&parent, hidden);
        }
        match entry.kind {
            EntryKind::Directory => self.directory(path, entry),
            EntryKind::HardLink => self.hard_link(&parent, name, entry),
            EntryKind::File => self.file(&parent, name, entry, data),
            _ => self.special(&parent, name, entry),
        }
    }

    /// The open parent directory, made if no entry described it.
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
            .ok_or_else(|| Error::new(Kind::Internal, "no parent"))
    }

    fn imply(&mut self, path: &RelPath, why: io::Error) -> Result<RootDir> {
        match why.raw_os_error() {
            Some(nix::libc::ENOENT) => {}
            Some(nix::libc::ENOTDIR) => self.clear_whiteouts(path)?,
            _ => return Err(escape(why, path)),
        }
        let made = self.root.mkdir_all(path, DIR_MODE).map_err(|e| escape(e, path))?;
        for made in &made {
            self.root.place(made)?.set_mode(DIR_MODE)?;
        }
        self.facts.inodes += made.len() as u64;
        self.implied.extend(made);
        self.root.dir(path).map_err(|e| escape(e, path))
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
                self.implied.insert(at.clone());
                self.mark_opaque(&at)?;
            }
        }
        Ok(())
    }

    fn opaque(&mut self, path: &RelPath) -> Result<()> {
        if path.is_root() {
            self.facts.is_opaque = true;
            return Ok(());
        }
        self.parent(path)?;
        self.mark_opaque(path)
    }

    fn mark_opaque(&self, path: &RelPath) -> Result<()> {
        let dir = self.root.dir(path).map_err(|e| escape(e, path))?;
        Ok(xattr::set(dir.fd(), OVERLAY_OPAQUE, b"y")?)
    }

    /// A whiteout hides what the layers below have, never what this one has, in whatever order
    /// both come.
    fn whiteout(&mut self, parent: &RelPath, hidden: &[u8]) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("a whiteout of no name"));
        }
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
        let attributes = attributes(entry)?;
        if let Some((parent, name)) = path.split() {
            let place = self.parent(&parent)?.child(name)?;
            match place.mkdir(DIR_MODE) {
                Ok(()) => self.facts.inodes += 1,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    self.replace_by_dir(&path, &place)?;
                }
                Err(e) => return Err(e.into()),
            }
        } else if entry.kind != EntryKind::Directory {
            return Err(Error::invalid("the root is not a directory"));
        }
        self.implied.remove(&path);
        self.dirs.push((path, attributes));
        Ok(())
    }

    fn replace_by_dir(&mut self, path: &RelPath, place: &Place) -> Result<()> {
        if place.is_dir()? {
            return Ok(());
        }
        let hides = is_whiteout(place)?;
        self.last = None;
        place.unlink()?;
        place.mkdir(DIR_MODE)?;
        if hides { self.mark_opaque(path) } else { Ok(()) }
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &RelPath,
        name: &[u8],
        entry: &Entry,
        data: &mut Archive<R>,
    ) -> Result<()> {
        let attributes = attributes(entry)?;
        let place = self.parent(parent)?.child(name)?;
        let mut file = match place.create_file(FILE_MODE) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.clear(parent, &place)?;
                place.create_file(FILE_MODE)?
            }
            done => done?,
        };
        let stored = match &entry.sparse {
            None => copy(&mut file, data)?,
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
        self.dress_file(&file, &attributes)
    }

    fn special(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()> {
        let attributes = attributes(entry)?;
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
        self.dress_place(&place, &attributes, entry.kind != EntryKind::Symlink)
    }

    fn hard_link(&mut self, parent: &RelPath, name: &[u8], entry: &Entry) -> Result<()> {
        let shown = entry.link.escape_ascii();
        let target =
            RelPath::parse(&entry.link).context(format_args!("hard link to \"{shown}\""))?;
        let existing = self.root.place(&target).map_err(|e| escape(e, &target))?;
        let Some(stat) = existing.stat()? else {
            let why = format!("hard link to \"{shown}\", which is not in this layer");
            return Err(Error::invalid(why));
        };
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
            return Err(Error::invalid(format_args!("hard link to \"{shown}\", a directory")));
        }
        let place = self.parent(parent)?.child(name)?;
        if let Some(there) = place.stat()? {
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(());
            }
            self.clear(parent, &place)?;
        }
        Ok(place.link_from(&existing)?)
    }

    /// Makes room for an entry that comes a second time. A directory goes with its content and
    /// is described no more.
    fn clear(&mut self, parent: &RelPath, place: &Place) -> Result<()> {
        let path = parent.join(place.name().to_bytes())?;
        self.last = None;
        self.dirs.retain(|(dir, _)| !dir.is_within(&path));
        self.implied.retain(|dir| !dir.is_within(&path));
        Ok(place.remove_tree()?)
    }

    fn count(&mut self, stored: u64) {
        self.facts.inodes += 1;
        self.facts.bytes += stored.next_multiple_of(4096);
    }

    /// The order is the kernel's demand: a change of owner clears setuid and capabilities.
    fn dress_file(&self, file: &std::fs::File, want: &Attributes) -> Result<()> {
        if (want.uid, want.gid) != self.ids {
            std::os::unix::fs::fchown(file, Some(want.uid), Some(want.gid))?;
        }
        nix::sys::stat::fchmod(file, want.mode)?;
        for (name, value) in &want.xattrs {
            supported(xattr::set(file, name, value))?;
        }
        Ok(nix::sys::stat::futimens(file, &want.mtime, &want.mtime)?)
    }

    fn dress_place(&self, place: &Place, want: &Attributes, has_mode: bool) -> Result<()> {
        place.set_owner(want.uid, want.gid)?;
        if has_mode {
            place.set_mode(want.mode)?;
        }
        for (name, value) in &want.xattrs {
            supported(place.set_xattr(name, value))?;
        }
        Ok(place.set_times(&want.mtime, &want.mtime)?)
    }

    /// Sets what had to wait, deepest directories first.
    pub(super) fn finish(mut self) -> Result<Facts> {
        self.last = None;
        for (path, want) in self.dirs.iter().rev() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let dir = self.root.open_at(path, flags, Mode::empty());
            let dir = std::fs::File::from(dir.context(path)?);
            self.dress_file(&dir, want).context(path)?;
        }
        self.facts.bytes += self.dirs.len() as u64 * 4096;
        let text = |path: RelPath| String::from_utf8_lossy(path.as_bytes()).into_owned();
        self.facts.implied = self.implied.into_iter().map(text).collect();
        Ok(self.facts)
    }
}

fn copy<R: BufRead>(file: &mut std::fs::File, data: &mut Archive<R>) -> Result<u64> {
    let mut total = 0;
    loop {
        let piece = data.data()?;
        let n = piece.len();
        if n == 0 {
            return Ok(total);
        }
        file.write_all(piece)?;
        data.consume(n);
        total += n as u64;
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

fn attributes(entry: &Entry) -> Result<Attributes> {
    let id = |id: u64, what: &str| {
        let bad = || Error::invalid(format_args!("{what} {id} is out of range"));
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(bad)
    };
    let mut xattrs = Vec::new();
    for (name, value) in &entry.xattrs {
        // overlayfs and other kernel parts keep their own notes there: a layer that could write
        // them would redirect lookups on the node.
        if name.starts_with(b"trusted.") {
            continue;
        }
        let bad = |_| Error::invalid("an attribute's name contains a NUL");
        xattrs.push((CString::new(name.as_slice()).map_err(bad)?, value.clone()));
    }
    Ok(Attributes {
        uid: id(entry.uid, "uid")?,
        gid: id(entry.gid, "gid")?,
        mode: Mode::from_bits_truncate(entry.mode),
        mtime: TimeSpec::new(entry.mtime.0, i64::from(entry.mtime.1)),
        xattrs,
    })
}

/// An attribute that the filesystem does not know is not the image's fault.
fn supported(done: io::Result<()>) -> Result<()> {
    match done {
        Err(e) if e.raw_os_error() == Some(nix::libc::ENOTSUP) => Ok(()),
        done => Ok(done?),
    }
}

fn is_whiteout(place: &Place) -> Result<bool> {
    Ok(place.stat()?.is_some_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
            && stat.st_rdev == 0
    }))
}

/// Words for a lookup that failed at `path`.
fn escape(e: io::Error, path: &RelPath) -> Error {
    match e.raw_os_error() {
        Some(nix::libc::EXDEV) => {
            Error::invalid(format_args!("a symlink in {path} leads out of the layer"))
        }
        Some(nix::libc::ENOTDIR) => Error::invalid(format_args!("{path} is not a directory")),
        Some(nix::libc::ELOOP) => Error::invalid(format_args!("too many symlinks in {path}")),
        Some(nix::libc::ENOENT) => Error::invalid(format_args!("{path} is not in this layer")),
        _ => Error::from(e).context(path),
    }
}
