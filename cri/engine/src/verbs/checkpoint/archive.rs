//! The archive, and where it goes.

use crate::error::{Context, Error, Result};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Where an archive is to be.
#[derive(Clone)]
pub(super) struct Location {
    path: PathBuf,
    /// On its way there.
    temporary: PathBuf,
}

impl Location {
    /// Checks what a client asks for. Blocks.
    ///
    /// # Errors
    /// `Invalid` for what is no absolute path of a file, `NotFound` without the folder above it.
    pub(super) fn of(path: &str, name: &str) -> Result<Location> {
        let what = || format!("location {path:?}");
        let invalid = |why: &str| Error::invalid(why).context(what());
        let asked = Path::new(path);
        if !asked.is_absolute() {
            return Err(invalid("it is no absolute path"));
        }
        if path.as_bytes().contains(&0) {
            return Err(invalid("NUL in it"));
        }
        let is_file =
            asked.file_name().is_some_and(|name| path.as_bytes().ends_with(name.as_bytes()));
        let Some(folder) = asked.parent().filter(|_| is_file) else {
            return Err(invalid("it is no path of a file"));
        };
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(invalid("what is above it is no folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::not_found("its folder is not there").context(what()));
            }
            Err(error) => return Err(error).context(what),
        }
        match std::fs::symlink_metadata(asked) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(invalid("something is there that is no file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(what),
        }
        Ok(Location { temporary: folder.join(name), path: asked.to_owned() })
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.temporary.clone()
    }

    /// Lets what was written be there, for good.
    pub(super) fn publish(&self) -> Result<()> {
        let published = std::fs::rename(&self.temporary, &self.path)
            .and_then(|()| File::open(self.path.parent().unwrap_or(&self.path))?.sync_all());
        published.context(|| format!("location {:?}", self.path))
    }
}

/// Writes what is in `files`, and the log, as an archive. It has all memory of the container, and is
/// nobody else's to read.
pub(super) fn write(files: &Path, log: Option<&Path>, to: &Path) -> Result<()> {
    let written = || -> io::Result<()> {
        let mut out = Builder::new(BufWriter::new(rrun_sys::record::create(to, 0o600)?));
        folder(&mut out, files, Path::new(""))?;
        if let Some(log) = log {
            match rrun_sys::record::open(log) {
                Ok(log) => append(&mut out, log, Path::new("container.log"))?,
                Err(error) => tracing::debug!(%error, "a checkpoint without the log"),
            }
        }
        let mut out = out.into_inner()?;
        out.flush()?;
        out.get_ref().sync_all()
    };
    written().context(|| format!("write {}", to.display()))
}

fn folder(out: &mut Builder<BufWriter<File>>, folder: &Path, name: &Path) -> io::Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for one in names {
        let (path, name) = (folder.join(&one), name.join(&one));
        let found = std::fs::symlink_metadata(&path)?;
        if found.is_dir() {
            let mut header = header(EntryType::Directory, 0o700, 0);
            out.append_data(&mut header, &name, io::empty())?;
            self::folder(out, &path, &name)?;
        } else if found.is_file() {
            append(out, rrun_sys::record::open(&path)?, &name)?;
        }
    }
    Ok(())
}

/// As it is when it is opened: a log may grow.
fn append(out: &mut Builder<BufWriter<File>>, file: File, name: &Path) -> io::Result<()> {
    let size = file.metadata()?.len();
    let mut data = file.take(size);
    out.append_data(&mut header(EntryType::Regular, 0o600, size), name, &mut data)?;
    match data.limit() {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("{} has become shorter", name.display()))),
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    let now = rrun_sys::time::now() / 1_000_000_000;
    header.set_mtime(now.try_into().unwrap_or_default());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_location_is_the_absolute_path_of_a_file_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for path in ["new", "file", "./new"] {
            let location = Location::of(&at(path), ".x").unwrap();
            assert_eq!(location.temporary(), dir.path().join(".x"));
        }
        let folder = dir.path().to_str().unwrap();
        for (path, kind, why) in [
            ("", Kind::Invalid, "no absolute path"),
            ("relative/file", Kind::Invalid, "no absolute path"),
            ("/", Kind::Invalid, "no path of a file"),
            (&at("new/"), Kind::Invalid, "no path of a file"),
            (&at("x/.."), Kind::Invalid, "no path of a file"),
            (&at("n\0ul"), Kind::Invalid, "NUL"),
            (&at("missing/new"), Kind::NotFound, "its folder is not there"),
            (&at("file/new"), Kind::Invalid, "no folder"),
            (folder, Kind::Invalid, "no file"),
            (&at("link"), Kind::Invalid, "no file"),
        ] {
            let refused = Location::of(path, ".x").map(drop).unwrap_err();
            assert_eq!(refused.kind(), kind, "{path}: {refused}");
            assert!(refused.to_string().contains(why), "{path}: {refused}");
        }
    }
}
