//! What a writable layer has changed of the image below it, as an archive and a list of what is
//! deleted: how podman, CRI-O and containerd keep the file system of a container in a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ::tar::{Builder, EntryType, Header};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, major, minor};
use rrun_sys::in_root::is;
use rrun_sys::xattr;

use crate::error::{Context, Error, Result};
use crate::layer::OVERLAY_OPAQUE;
use crate::store::Ids;

/// How many levels of directories are followed, with four descriptors each.
const DEPTH: usize = 128;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Overlay's own notes, and those of them by which a thing's data are elsewhere.
const OF_OVERLAY: &[u8] = b"trusted.overlay.";
const ELSEWHERE: [&CStr; 2] = [c"trusted.overlay.redirect", c"trusted.overlay.metacopy"];

/// Writes what the upper directory of an overlay has into an archive, and tells the absolute paths of
/// what the container has deleted of `lower`, the layers below it as one directory. Owners are as the
/// container sees them: `ids` says whose the files are on the disk, where that is somebody else. Sockets
/// are left out, as no archive can have them. Nobody may be changing anything meanwhile. Blocks.
///
/// # Errors
/// `Invalid` for directories that are too deep, and for a deleted name that is not UTF-8; what cannot be
/// read or written.
pub fn write_changes(
    upper: &Path,
    lower: OwnedFd,
    ids: Option<Ids>,
    out: File,
) -> Result<Vec<String>> {
    let opened = openat(AT_FDCWD, upper, DIRECTORY, Mode::empty()).context(upper.display())?;
    let mut walk = Walk {
        out: Builder::new(BufWriter::new(out)),
        ids,
        links: HashMap::new(),
        deleted: Vec::new(),
    };
    let top = Place { upper: opened, lower: Some(lower), path: PathBuf::new(), is_new: false };
    walk.directory(&top, 0)?;
    walk.out.into_inner()?.flush()?;
    Ok(walk.deleted)
}

struct Walk {
    out: Builder<BufWriter<File>>,
    ids: Option<Ids>,
    /// Files that have several names, by device and number, with the first one.
    links: HashMap<(u64, u64), PathBuf>,
    deleted: Vec<String>,
}

/// A directory of both.
struct Place {
    upper: OwnedFd,
    lower: Option<OwnedFd>,
    /// Relative to the root.
    path: PathBuf,
    /// Nothing of the lower directory is seen in it.
    is_new: bool,
}

impl Walk {
    fn directory(&mut self, at: &Place, depth: usize) -> Result<()> {
        if depth == DEPTH {
            let why = format!("there are directories on more than {DEPTH} levels");
            return Err(Error::invalid(why));
        }
        let shown = || format!("/{}", at.path.display());
        let names = names(at.upper.as_fd()).context(shown())?;
        if let (true, Some(lower)) = (at.is_new, &at.lower) {
            for name in self::names(lower.as_fd()).context(shown())?.difference(&names) {
                self.delete(&at.path.join(name))?;
            }
        }
        for name in &names {
            let path = at.path.join(name);
            self.one(at, name, &path, depth).context(path.display())?;
        }
        Ok(())
    }

    fn one(&mut self, at: &Place, name: &OsStr, path: &Path, depth: usize) -> Result<()> {
        let c_name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        let found = fstatat(&at.upper, &*c_name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if is(&found, SFlag::S_IFCHR) && found.st_rdev == 0 {
            return self.delete(path);
        }
        if is(&found, SFlag::S_IFDIR) {
            let upper = openat(&at.upper, &*c_name, DIRECTORY, Mode::empty())?;
            self.append(EntryType::Directory, path, &found, Some(upper.as_fd()), None)?;
            let opaque = xattr::get(&upper, OVERLAY_OPAQUE)?;
            let is_new = at.is_new || opaque.is_some_and(|value| value == b"y");
            let below = |lower: &OwnedFd| match openat(lower, &*c_name, DIRECTORY, Mode::empty()) {
                Ok(opened) => Ok(Some(opened)),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
                Err(errno) => Err(errno),
            };
            let lower = at.lower.as_ref().map(below).transpose()?.flatten();
            let place = Place { upper, lower, path: path.to_owned(), is_new };
            return self.directory(&place, depth + 1);
        }
        if found.st_nlink > 1 {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                let first = first.as_os_str().as_bytes();
                return self.append(EntryType::Link, path, &found, None, Some(first));
            }
            self.links.insert(key, path.to_owned());
        }
        if is(&found, SFlag::S_IFREG) {
            return self.file(at.upper.as_fd(), &c_name, path);
        }
        if is(&found, SFlag::S_IFLNK) {
            let target = readlinkat(&at.upper, &*c_name)?;
            return self.append(EntryType::Symlink, path, &found, None, Some(target.as_bytes()));
        }
        let kinds = [
            (SFlag::S_IFCHR, EntryType::Char),
            (SFlag::S_IFBLK, EntryType::Block),
            (SFlag::S_IFIFO, EntryType::Fifo),
        ];
        match kinds.into_iter().find(|(kind, _)| is(&found, *kind)) {
            Some((_, entry)) => self.append(entry, path, &found, None, None),
            None => Ok(()),
        }
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
        // It may be a FIFO by now, which would wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(directory, name, flags, Mode::empty())?);
        let found = nix::sys::stat::fstat(&file)?;
        if !is(&found, SFlag::S_IFREG) {
            return Err(Error::invalid("it is no file any more"));
        }
        self.append(EntryType::Regular, path, &found, Some(file.as_fd()), None)
    }

    /// Writes one entry; `opened` is a directory or the file with the data.
    fn append(
        &mut self,
        kind: EntryType,
        path: &Path,
        found: &FileStat,
        opened: Option<BorrowedFd<'_>>,
        link: Option<&[u8]>,
    ) -> Result<()> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let mut records = BTreeMap::from([("path".to_owned(), name)]);
        records.extend(link.map(|target| ("linkpath".to_owned(), target.to_vec())));
        if let Some(opened) = opened {
            records.extend(attributes(opened)?);
        }
        let size = match kind {
            EntryType::Regular => found.st_size.cast_unsigned(),
            _ => 0,
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(found.st_mode & 0o7777);
        header.set_mtime(found.st_mtime.try_into().unwrap_or_default());
        let (uid, gid) = (found.st_uid, found.st_gid);
        let inside = self.ids.map(|ids| (ids.users.inside(uid), ids.groups.inside(gid)));
        let (uid, gid) = inside.unwrap_or((uid, gid));
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let number = |part: u64| u32::try_from(part).map_err(|_| Errno::EOVERFLOW);
            header.set_device_major(number(major(found.st_rdev))?)?;
            header.set_device_minor(number(minor(found.st_rdev))?)?;
        }
        header.set_cksum();
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.out.append_pax_extensions(records)?;
        let data = opened.filter(|_| kind == EntryType::Regular);
        let file = data.map(|fd| fd.try_clone_to_owned().map(File::from)).transpose()?;
        let mut data = file.map(|file| file.take(size));
        match &mut data {
            None => self.out.append(&header, io::empty())?,
            Some(data) => self.out.append(&header, &mut *data)?,
        }
        match data.is_some_and(|data| data.limit() > 0) {
            true => Err(Error::invalid("it has become shorter")),
            false => Ok(()),
        }
    }

    fn delete(&mut self, path: &Path) -> Result<()> {
        let text = path.to_str().ok_or_else(|| Error::invalid("its name is not UTF-8"));
        self.deleted.push(format!("/{}", text.context(path.display())?));
        Ok(())
    }
}

/// The names in a directory.
fn names(directory: BorrowedFd<'_>) -> Result<BTreeSet<OsString>> {
    // Read from the beginning: descriptors that are copies share their place.
    let mut listing = Dir::openat(directory, c".", DIRECTORY, Mode::empty())?;
    let mut names = BTreeSet::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&*name, b"." | b"..") {
            names.insert(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// Extended attributes, but those of overlay.
fn attributes(of: BorrowedFd<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for name in xattr::list(of)? {
        if ELSEWHERE.contains(&&*name) {
            let why = format!("its data are elsewhere ({})", name.to_string_lossy());
            return Err(Error::invalid(why));
        }
        if name.to_bytes().starts_with(OF_OVERLAY) {
            continue;
        }
        if let (Ok(text), Some(value)) = (name.to_str(), xattr::get(of, &name)?) {
            all.push((format!("SCHILY.xattr.{text}"), value));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Layers {
        dir: tempfile::TempDir,
    }

    impl Layers {
        fn new() -> Layers {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("upper")).unwrap();
            fs::create_dir(dir.path().join("lower")).unwrap();
            Layers { dir }
        }

        fn upper(&self, path: &str) -> PathBuf {
            self.at("upper", path)
        }

        fn lower(&self, path: &str) -> PathBuf {
            self.at("lower", path)
        }

        fn at(&self, side: &str, path: &str) -> PathBuf {
            let path = self.dir.path().join(side).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn changes(&self, ids: Option<Ids>) -> Result<(Vec<u8>, Vec<String>)> {
            let lower = File::open(self.dir.path().join("lower")).unwrap().into();
            let archive = self.dir.path().join("archive");
            let out = File::create(&archive).unwrap();
            let deleted = write_changes(&self.dir.path().join("upper"), lower, ids, out)?;
            Ok((fs::read(archive).unwrap(), deleted))
        }
    }

    /// Each entry: its kind, path, link and data.
    fn entries(archive: &[u8]) -> Vec<(EntryType, String, String, String)> {
        let mut archive = ::tar::Archive::new(archive);
        let read = |entry: io::Result<::tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let mut data = String::new();
            entry.read_to_string(&mut data).unwrap();
            let link = entry.link_name().unwrap();
            let link = link.map(|link| link.display().to_string()).unwrap_or_default();
            let path = entry.path().unwrap().display().to_string();
            (entry.header().entry_type(), path, link, data)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn entry(
        kind: EntryType,
        [path, link, data]: [&str; 3],
    ) -> (EntryType, String, String, String) {
        (kind, path.to_owned(), link.to_owned(), data.to_owned())
    }

    #[test]
    fn every_kind_of_thing_is_in_the_archive() {
        let layers = Layers::new();
        let long = "x".repeat(200);
        fs::write(layers.upper("etc/new"), "text").unwrap();
        fs::write(layers.upper(&format!("etc/{long}")), "long").unwrap();
        fs::hard_link(layers.upper("etc/new"), layers.upper("etc/other")).unwrap();
        symlink("./../of//it", layers.upper("link")).unwrap();
        nix::unistd::mkfifo(&layers.upper("pipe"), Mode::S_IRUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(layers.upper("socket")).unwrap();
        let (archive, deleted) = layers.changes(None).unwrap();
        let long = format!("etc/{long}");
        let expected = vec![
            entry(EntryType::Directory, ["etc/", "", ""]),
            entry(EntryType::Regular, ["etc/new", "", "text"]),
            entry(EntryType::Link, ["etc/other", "etc/new", ""]),
            entry(EntryType::Regular, [&long, "", "long"]),
            entry(EntryType::Symlink, ["link", "./../of//it", ""]),
            entry(EntryType::Fifo, ["pipe", "", ""]),
        ];
        assert_eq!(entries(&archive), expected);
        assert!(deleted.is_empty());
    }

    #[test]
    fn owners_are_those_inside_and_modes_and_attributes_are_kept() {
        let layers = Layers::new();
        let file = layers.upper("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
        let owner = fs::metadata(&file).unwrap();
        use std::os::unix::fs::MetadataExt;
        let shift = |first| crate::Shift { first, count: 65536 };
        let ids = Ids { users: shift(owner.uid()), groups: shift(owner.gid() + 1) };
        let has_attributes = xattr::set(File::open(&file).unwrap(), c"user.a", b"b\0c").is_ok();
        let (archive, _) = layers.changes(Some(ids)).unwrap();
        let mut archive = ::tar::Archive::new(&*archive);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 65534));
        assert_eq!(header.mode().unwrap(), 0o4755);
        let pax = entry.pax_extensions().unwrap().unwrap().map(Result::unwrap);
        let found: Vec<_> = pax.filter(|one| one.key() == Ok("SCHILY.xattr.user.a")).collect();
        assert_eq!(found.len(), usize::from(has_attributes));
        assert!(found.iter().all(|one| one.value_bytes() == b"b\0c"));
    }

    #[test]
    fn what_is_deleted_is_told_and_is_not_in_the_archive() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let layers = Layers::new();
        for path in ["gone", "new/a", "new/deep/b", "new/deep/c", "kept/d", "file/x"] {
            fs::write(layers.lower(path), "lower").unwrap();
        }
        let (kind, mode) = (SFlag::S_IFCHR, Mode::empty());
        nix::sys::stat::mknod(&layers.upper("gone"), kind, mode, 0).unwrap();
        fs::write(layers.upper("new/deep/c"), "upper").unwrap();
        fs::write(layers.upper("kept/e"), "upper").unwrap();
        fs::write(layers.upper("file"), "upper").unwrap();
        let opaque = File::open(layers.upper("new")).unwrap();
        xattr::set(&opaque, OVERLAY_OPAQUE, b"y").unwrap();
        let (archive, deleted) = layers.changes(None).unwrap();
        assert_eq!(deleted, ["/gone", "/new/a", "/new/deep/b"]);
        let paths: Vec<String> = entries(&archive).into_iter().map(|entry| entry.1).collect();
        let expected = ["file", "kept/", "kept/e", "new/", "new/deep/", "new/deep/c"];
        assert_eq!(paths, expected);
        xattr::set(&opaque, c"trusted.overlay.redirect", b"/old").unwrap();
        let refused = layers.changes(None).unwrap_err().to_string();
        assert!(refused.contains("new: its data are elsewhere"), "{refused}");
    }

    #[test]
    fn directories_that_are_too_deep_are_refused() {
        let layers = Layers::new();
        fs::create_dir_all(layers.upper(&"d/".repeat(DEPTH + 1))).unwrap();
        let refused = layers.changes(None).unwrap_err();
        assert!(refused.to_string().contains("more than 128 levels"), "{refused}");
    }
}
