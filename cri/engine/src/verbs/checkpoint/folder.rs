//! The folder in which a checkpoint is made, by which whoever finds it later knows all that is to be
//! removed.

use crate::dirs::{self, Dirs};
use crate::error::{Context, Error, Result};
use crate::id::ContainerId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rrun_images::Ids;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Beside the files that become the archive: who works on it holds a lock on this one,
const LOCK: &str = "lock";
/// and here is the path of the archive while it is written.
const TEMPORARY: &str = "temporary";

/// A checkpoint's folder.
#[derive(Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn of(dirs: &Dirs, container: &ContainerId) -> Folder {
        Folder { path: dirs.checkpoints().join(container.as_str()) }
    }

    /// What becomes the archive.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// The image of the processes in it.
    pub(super) fn images(&self) -> PathBuf {
        self.files().join("checkpoint")
    }

    /// Makes it; it has all memory of the container, and is nobody else's to read.
    pub(super) fn make(&self, temporary: &Path) -> Result<()> {
        for folder in [&self.path, &self.files(), &self.images()] {
            dirs::make_private(folder)?;
        }
        let path = self.path.join(TEMPORARY);
        let written = rrun_sys::record::create(&path, 0o600).and_then(|mut file| {
            file.write_all(temporary.as_os_str().as_bytes())?;
            file.sync_all()
        });
        written.context(|| format!("write {}", path.display()))
    }

    /// Locks it for as long as the file is open in any process; `None` when it is already.
    pub(super) fn lock(&self) -> Result<Option<File>> {
        let path = self.path.join(LOCK);
        let what = || format!("lock {}", path.display());
        let file = rrun_sys::record::open_lock(&path).context(what)?;
        match Flock::lock(file.try_clone().context(what)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // The lock is the open file's, and lasts.
                std::mem::forget(lock);
                Ok(Some(file))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(std::io::Error::from(errno)).context(what),
        }
    }

    /// Where the archive is, while it is written, if that is known.
    fn temporary(&self) -> Option<PathBuf> {
        let path = rrun_sys::record::read(&self.path.join(TEMPORARY)).ok()?;
        let path = PathBuf::from(OsStr::from_bytes(&path));
        // A record that was torn by a power cut names nothing of ours.
        let container = self.path.file_name()?.to_str()?.parse().ok()?;
        let is_ours = |name: &OsStr| name == temporary_name(&container).as_str();
        path.file_name().is_some_and(is_ours).then_some(path)
    }

    /// Writes what the writable layer has changed.
    pub(super) fn write_changes(
        &self,
        upper: &Path,
        lower: OwnedFd,
        ids: Option<Ids>,
    ) -> Result<()> {
        let path = self.files().join("rootfs-diff.tar");
        let what = || format!("write {}", path.display());
        let out = rrun_sys::record::create(&path, 0o600).context(what)?;
        let deleted = rrun_images::write_changes(upper, lower, ids, out).context(what)?;
        if deleted.is_empty() {
            return Ok(());
        }
        let json = serde_json::Value::from(deleted);
        write(&self.files().join("deleted.files"), json.to_string().as_bytes())
    }

    /// Removes it, and before that the archive that is not at its place. Missing is done.
    pub(super) fn remove(&self, temporary: Option<&Path>) -> Result<()> {
        if let Some(temporary) = temporary {
            dirs::remove_file(temporary)?;
        }
        dirs::remove_all(&self.path)?;
        // With the last one.
        if let Some(above) = self.path.parent() {
            let _ = std::fs::remove_dir(above);
        }
        Ok(())
    }
}

/// The name of an archive that is not at its place yet.
pub(super) fn temporary_name(container: &ContainerId) -> String {
    format!(".{container}.checkpoint")
}

/// Writes one of the files that become the archive.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = rrun_sys::record::create(path, 0o600).and_then(|mut file| file.write_all(bytes));
    written.context(|| format!("write {}", path.display()))
}

/// The containers of a pod of which there is a folder, and where their archives are on their way.
pub(super) fn all(dirs: &Dirs) -> Result<Vec<(ContainerId, Option<PathBuf>)>> {
    let path = dirs.checkpoints();
    let what = || format!("read {}", path.display());
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(what)?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry.context(what)?.file_name();
        match name.to_str().map(str::parse) {
            Some(Ok(id)) => {
                let temporary = Folder::of(dirs, &id).temporary();
                all.push((id, temporary));
            }
            _ => return Err(Error::internal(format!("{name:?} is no container")).context(what())),
        }
    }
    Ok(all)
}
