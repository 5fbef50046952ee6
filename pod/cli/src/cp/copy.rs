//! Copies a file or a folder, entry by entry.
//!
//! Both sides may be somebody else's: a container changes its files while they are read, and may have
//! put links, devices and FIFOs where a file is to be written. So every entry is reached by its
//! single name in an open folder, no link is followed on the way, and only what was seen to be a
//! regular file is opened. Links of a container are not made on this machine, where a program would
//! follow them out of the copy (CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249 of `kubectl cp`).

use anyhow::{Result, bail};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown};
use rrun_sys::in_root;
use rrun_sys::root::{Place, RelPath, RootDir, Rule};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Folders in each other.
const DEEPEST: usize = 256;

/// What a path that was named leads to.
pub enum Found {
    /// A folder.
    Folder(RootDir),
    /// A regular file, open, and what is known of it.
    File(File, Box<FileStat>),
}

impl Found {
    /// What a path of a root leads to, through links that stay in it.
    pub fn in_root(root: &RootDir, path: &RelPath) -> Result<Found> {
        let found = root.lookup(path)?;
        if is_folder(&fstat(&found)?) {
            return Ok(Found::Folder(root.dir(path)?));
        }
        let path = CString::new(path.as_bytes())?;
        Found::file(in_root::open_regular(root.fd(), &path)?)
    }

    /// What a path of this machine leads to.
    pub fn of_host(path: &Path) -> Result<Found> {
        if path.is_dir() {
            return Ok(Found::Folder(RootDir::open(path, Rule::Beneath)?));
        }
        Found::file(in_root::open_regular_of_host(path)?)
    }

    fn file(file: File) -> Result<Found> {
        let stat = fstat(&file)?;
        Ok(Found::File(file, Box::new(stat)))
    }
}

/// What becomes of owners, modes and links.
enum Side {
    /// Files are the caller's, and there are no links.
    Here,
    /// Files are the container's user's, unless that is root, who keeps theirs.
    Container { owner: (u32, u32) },
}

/// Copies, and gathers what was left out.
pub struct Copier {
    side: Side,
    preserve: bool,
    path: Vec<String>,
    left_out: Vec<String>,
}

impl Copier {
    /// Out of a container.
    pub fn to_here(preserve: bool) -> Copier {
        Copier { side: Side::Here, preserve, path: Vec::new(), left_out: Vec::new() }
    }

    /// Into a container whose process has this user and group.
    pub fn to_container(owner: (u32, u32), preserve: bool) -> Copier {
        let side = Side::Container { owner };
        Copier { side, preserve, path: Vec::new(), left_out: Vec::new() }
    }

    /// The first so many things that were left out, and how many more there are.
    pub fn warnings(&self, most: usize) -> (&[String], usize) {
        let told = self.left_out.len().min(most);
        (&self.left_out[..told], self.left_out.len() - told)
    }

    /// Copies what was found to a place.
    ///
    /// # Errors
    /// Those of the file systems, with the path; what was copied before stays.
    pub fn copy(&mut self, from: Found, to: &Place) -> Result<()> {
        self.path.push(String::from_utf8_lossy(to.name().to_bytes()).into_owned());
        let done = match from {
            Found::Folder(from) => self.folder(&from, to),
            Found::File(mut file, stat) => self.file(&mut file, &stat, to),
        };
        self.path.pop();
        done
    }

    fn folder(&mut self, from: &RootDir, to: &Place) -> Result<()> {
        let stat = fstat(from.fd()).map_err(|e| self.fault("read", e.into()))?;
        match to.mkdir(Mode::from_bits_truncate(0o700)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let folder = open_folder(to).map_err(|e| self.fault("write", e))?;
                return self.children(from, &folder);
            }
            other => other.map_err(|e| self.fault("make", e))?,
        }
        let folder = open_folder(to).map_err(|e| self.fault("write", e))?;
        self.children(from, &folder)?;
        self.finish(folder.fd(), &stat, Mode::from_bits_truncate(0o755))
    }

    /// Copies what is in a folder into another one.
    ///
    /// # Errors
    /// As [`Copier::copy`].
    pub fn children(&mut self, from: &RootDir, to: &RootDir) -> Result<()> {
        if self.path.len() > DEEPEST {
            bail!("{}: more than {DEEPEST} folders in each other", self.path.join("/"));
        }
        for name in names(from).map_err(|e| self.fault("read", e))? {
            self.path.push(String::from_utf8_lossy(&name).into_owned());
            let (from, to) = (from.child(&name), to.child(&name));
            let (from, to) = (from.map_err(|e| self.fault("read", e))?, to?);
            self.entry(&from, &to)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, from: &Place, to: &Place) -> Result<()> {
        let stat = from.stat().map_err(|e| self.fault("read", e))?;
        // Somebody has removed it meanwhile.
        let Some(stat) = stat else { return Ok(()) };
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => {
                let folder = open_folder(from).map_err(|e| self.fault("read", e))?;
                self.folder(&folder, to)
            }
            SFlag::S_IFREG => match in_root::open_regular(from.dir(), from.name()) {
                Ok(mut file) => {
                    let stat = fstat(&file).map_err(|e| self.fault("read", e.into()))?;
                    self.file(&mut file, &stat, to)
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    self.leave_out("it is no regular file");
                    Ok(())
                }
                Err(e) => Err(self.fault("read", e)),
            },
            SFlag::S_IFLNK => self.link(from, to),
            _ => {
                self.leave_out("it is a device, a FIFO or a socket");
                Ok(())
            }
        }
    }

    fn link(&mut self, from: &Place, to: &Place) -> Result<()> {
        if matches!(self.side, Side::Here) {
            self.leave_out("it is a link");
            return Ok(());
        }
        let target = from.read_link().map_err(|e| self.fault("read", e))?;
        let Some(target) = target else { return Ok(()) };
        if to.read_link().map_err(|e| self.fault("write", e))?.is_some() {
            to.unlink().map_err(|e| self.fault("write", e))?;
        }
        to.symlink(&target).map_err(|e| self.fault("write", e))
    }

    fn file(&mut self, from: &mut File, stat: &FileStat, to: &Place) -> Result<()> {
        let mut file = match to.create_file(Mode::from_bits_truncate(0o600)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let file = in_root::open_regular_to_write(to.dir(), to.name());
                let file = file.map_err(|e| self.fault("write", e))?;
                file.set_len(0).map_err(|e| self.fault("write", e))?;
                io::copy(from, &mut &file).map_err(|e| self.fault("copy", e))?;
                return Ok(());
            }
            other => other.map_err(|e| self.fault("make", e))?,
        };
        io::copy(from, &mut file).map_err(|e| self.fault("copy", e))?;
        self.finish(file.as_fd(), stat, Mode::from_bits_truncate(0o644))
    }

    /// Gives what was made its owner and mode.
    fn finish(&self, made: BorrowedFd<'_>, stat: &FileStat, plain: Mode) -> Result<()> {
        let all = Mode::from_bits_truncate(stat.st_mode);
        let rwx = Mode::from_bits_truncate(0o777);
        let mode = match self.side {
            // Nobody gets more of the caller's files than by what programs usually make.
            Side::Here if self.preserve => all & rwx & !Mode::from_bits_truncate(0o022),
            Side::Here => plain,
            Side::Container { .. } if self.preserve => all,
            Side::Container { .. } => all & rwx & !Mode::from_bits_truncate(0o022),
        };
        if let Side::Container { owner } = self.side {
            let keeps = self.preserve && owner.0 == 0;
            let (user, group) = if keeps { (stat.st_uid, stat.st_gid) } else { owner };
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let done = fchown(made, Some(user), Some(group));
            done.map_err(|e| self.fault("chown", e.into()))?;
        }
        fchmod(made, mode).map_err(|e| self.fault("chmod", e.into()))
    }

    fn leave_out(&mut self, why: &str) {
        self.left_out.push(format!("{}: left out: {why}", self.path.join("/")));
    }

    fn fault(&self, what: &str, error: io::Error) -> anyhow::Error {
        anyhow::Error::new(error).context(format!("{what} {}", self.path.join("/")))
    }
}

fn is_folder(stat: &FileStat) -> bool {
    in_root::is(stat, SFlag::S_IFDIR)
}

/// The folder that stands at a place itself, and none that a link there leads to.
fn open_folder(place: &Place) -> io::Result<RootDir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    Ok(RootDir::new(place.open(flags, Mode::empty())?, Rule::Beneath))
}

fn names(folder: &RootDir) -> io::Result<Vec<Vec<u8>>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fresh: OwnedFd = openat(folder.fd(), c".", flags, Mode::empty())?;
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", fresh.as_raw_fd()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().as_bytes().to_vec()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// Copies the folder `from` to `to/copy`.
    fn copy(copier: &mut Copier, from: &Path, to: &Path) -> Result<()> {
        let found = Found::of_host(from)?;
        copier.copy(found, &RootDir::open(to, Rule::Beneath)?.child(b"copy")?)
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_tree_is_copied_with_its_modes_and_without_set_id_bits() {
        let (from, to) = (folder(), folder());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/run"), "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let set = |mode| {
            fs::set_permissions(from.path().join("a/b/run"), PermissionsExt::from_mode(mode))
        };
        set(0o6777).unwrap();
        let mut copier = Copier::to_here(true);
        copy(&mut copier, from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("copy/a/b/run")).unwrap(), "x");
        assert_eq!(mode(&to.path().join("copy/a/b/run")), 0o755);
        // What is there is written over and keeps its mode.
        fs::write(from.path().join("a/b/run"), "other").unwrap();
        copy(&mut Copier::to_here(false), from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("copy/a/b/run")).unwrap(), "other");
        assert_eq!(mode(&to.path().join("copy/a/b/run")), 0o755);
    }

    #[test]
    fn links_and_special_files_of_a_container_are_left_out_by_name() {
        let (from, to) = (folder(), folder());
        symlink("/etc", from.path().join("out")).unwrap();
        symlink("file", from.path().join("near")).unwrap();
        fs::write(from.path().join("file"), "x").unwrap();
        nix::unistd::mkfifo(&from.path().join("fifo"), Mode::S_IRWXU).unwrap();
        let mut copier = Copier::to_here(true);
        copy(&mut copier, from.path(), to.path()).unwrap();
        let (told, more) = copier.warnings(2);
        assert_eq!((told.len(), more), (2, 1));
        assert_eq!(told[0], "copy/fifo: left out: it is a device, a FIFO or a socket");
        assert_eq!(told[1], "copy/near: left out: it is a link");
        let made: Vec<_> = fs::read_dir(to.path().join("copy")).unwrap().flatten().collect();
        assert_eq!(made.len(), 1);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_a_fifo_of_the_other_side() {
        for wrong in ["file", "folder"] {
            let (from, to, outside) = (folder(), folder(), folder());
            fs::create_dir(from.path().join("folder")).unwrap();
            fs::write(from.path().join("folder/x"), "x").unwrap();
            fs::write(from.path().join("file"), "x").unwrap();
            fs::create_dir(to.path().join("copy")).unwrap();
            fs::write(outside.path().join("kept"), "kept").unwrap();
            let target =
                if wrong == "file" { outside.path().join("kept") } else { outside.path().into() };
            symlink(target, to.path().join("copy").join(wrong)).unwrap();
            let refused = copy(&mut Copier::to_here(true), from.path(), to.path()).unwrap_err();
            assert!(format!("{refused:#}").contains(&format!("write copy/{wrong}")), "{refused:#}");
            assert_eq!(fs::read_to_string(outside.path().join("kept")).unwrap(), "kept");
            assert!(!outside.path().join("x").exists());
        }
        let (from, to) = (folder(), folder());
        fs::write(from.path().join("pipe"), "x").unwrap();
        fs::create_dir(to.path().join("copy")).unwrap();
        nix::unistd::mkfifo(&to.path().join("copy/pipe"), Mode::S_IRWXU).unwrap();
        let refused = copy(&mut Copier::to_here(true), from.path(), to.path()).unwrap_err();
        assert_eq!(format!("{refused:#}"), "write copy/pipe: not a regular file");
    }

    #[test]
    fn folders_that_are_too_deep_are_refused() {
        let (from, to) = (folder(), folder());
        let deep = (0..DEEPEST + 2).fold(from.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        let refused = copy(&mut Copier::to_here(true), from.path(), to.path()).unwrap_err();
        assert!(refused.to_string().ends_with("more than 256 folders in each other"));
    }
}
