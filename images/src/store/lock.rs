//! One worker at a layer, one process in a pull: a kernel lock on a file of that name.
//!
//! flock(2) is released by death, and excludes other threads and other processes alike, so it is
//! the only mechanism needed.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Disk;
use crate::error::{Context, Result};

/// Held while a layer is unpacked or removed, and while a pull runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
    /// What it stands for is not there yet: whoever lets go of it then leaves no file.
    is_early: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_early {
            // A file left behind is only an empty file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Lock {
    /// `None` if somebody else has it.
    pub(crate) fn try_take(locks: &Path, name: &str) -> Result<Option<Lock>> {
        let path = locks.join(name);
        loop {
            let file = rrun_sys::record::open_lock(&path).context(path.display())?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(e).context(path.display()),
            }
            // Whoever removed the layer removed the file too: then this is a lock on nothing.
            let ours = file.metadata().context(path.display())?;
            if std::fs::symlink_metadata(&path).is_ok_and(|there| there.ino() == ours.ino()) {
                return Ok(Some(Lock { _file: file, path, is_early: false }));
            }
        }
    }

    /// Whether somebody has it, for whoever only looks. He keeps it from others for a moment.
    pub(super) fn is_held(locks: &Path, name: &str) -> Result<bool> {
        let path = locks.join(name);
        let file = match rrun_sys::record::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            opened => opened.context(path.display())?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(e).context(path.display()),
        }
    }

    /// Waits for it. Polling, because a thread that sleeps in flock(2) cannot be told that
    /// nobody waits any more.
    pub(crate) async fn take(disk: &Disk, name: &str) -> Result<Lock> {
        let mut lock = Lock::take_after(disk, name, || {}).await?;
        lock.set_early(false);
        Ok(lock)
    }

    /// The same; `waits` is called once, where somebody has it.
    pub(crate) async fn take_after(disk: &Disk, name: &str, waits: impl FnOnce()) -> Result<Lock> {
        let mut waits = Some(waits);
        let mut pause = Duration::from_millis(2);
        loop {
            let wanted = name.to_owned();
            // Early: whoever waits for it may be gone when it is taken.
            let take = move |d: &Disk| {
                let mut taken = Lock::try_take(&d.path("locks"), &wanted)?;
                taken.iter_mut().for_each(|lock| lock.set_early(true));
                Ok(taken)
            };
            if let Some(lock) = disk.run(take).await? {
                return Ok(lock);
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Gives the lock back together with its file: what it stood for is gone.
    pub(crate) fn remove(mut self) {
        self.is_early = true;
    }

    /// Says whether what it stands for is still to be made. A pull that fails or is dropped before
    /// it begins with that takes the file with it.
    pub(crate) fn set_early(&mut self, is_early: bool) {
        self.is_early = is_early;
    }
}
