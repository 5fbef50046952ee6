//! Opening: directories, records, and the sweep of what a killed process left.
//!
//! When the records are made anew: if SQLite says that the file is damaged (`SQLITE_CORRUPT`) or no
//! database (`SQLITE_NOTADB`), and nobody has it open. A full or failing disk, a read-only mount,
//! another version and a busy database are errors that change nothing. Whoever has the records
//! open holds a shared lock on `records.lock`, which death releases; they are set aside under the
//! exclusive one alone, so never beneath a living process. One process opens at a time, by a lock
//! on the folder: SQLite answers `SQLITE_BUSY` at once to whoever comes between a new file and its
//! WAL, however long it was told to wait. The records of networks have the same rules.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use rrun_sys::step;

use super::lock::Lock;
use super::records::{self, Records};
use super::{Disk, LayerKey, restore};
use crate::error::{Context, Error, Hint, Kind, Result};

const DIRS: [&str; 7] = ["layers", "records", "writable", "tmp", "locks", "trash", "empty"];

pub(super) fn open(root: &Path) -> Result<(Records, String, File)> {
    step::run("images.open.dirs", || {
        make_dir(root, 0o700)?;
        // The empty directory is a root that a container may see.
        let mode = |dir| if dir == "empty" { 0o755 } else { 0o700 };
        DIRS.iter().try_for_each(|dir| make_dir(&root.join(dir), mode(*dir)))
    })?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot id")?;
    let boot = boot.trim().to_owned();
    let path = root.join("records.lock");
    let lock = step::run("images.open.lock", || File::create(&path)).context(path.display())?;
    let opening = File::open(root).context(root.display())?;
    opening.lock().context(root.display())?;
    let records = step::run("images.open.records", || locked(root, &lock, &boot))?;
    Ok((records, boot, lock))
}

/// The records, with the shared lock held.
fn locked(root: &Path, lock: &File, boot: &str) -> Result<Records> {
    let is_damaged = |e: &Error| e.hint() == Some(Hint::Damaged);
    let path = root.join("records.db");
    lock.lock_shared().context("records.lock")?;
    match Records::open(&path) {
        Err(e) if is_damaged(&e) => {}
        done => return done,
    }
    lock.unlock().context("records.lock")?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let why = "they are damaged, and another process has them open; when it has ended \
                       they are made anew";
            return Err(Error::new(Kind::Unavailable, why).context("image records"));
        }
        Err(TryLockError::Error(e)) => return Err(e).context("records.lock"),
    }
    // Somebody else may have been first.
    let records = match Records::open(&path) {
        Err(e) if is_damaged(&e) => {
            tracing::warn!(error = %e, "image records are set aside and made anew");
            set_aside(&path)?;
            let mut records = Records::open(&path)?;
            restore::restore(root, &mut records, boot)?;
            records
        }
        done => done?,
    };
    lock.lock_shared().context("records.lock")?;
    Ok(records)
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let done = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    done.context(path.display())
}

/// The damaged file stays for whoever wants to look; SQLite's side files go with it, because
/// they would be applied to the new one.
fn set_aside(path: &Path) -> Result<()> {
    for end in ["", "-wal", "-shm"] {
        let from = format!("{}{end}", path.display());
        let to = format!("{}.damaged{end}", path.display());
        match std::fs::rename(&from, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context(from),
            _ => {}
        }
    }
    Ok(())
}

impl Disk {
    /// Removes what killed processes left; what a live one is working on is locked and stays.
    pub(super) fn sweep(&self) -> Result<()> {
        self.distrust()?;
        self.collect(self.unrecorded()?)?;
        for entry in std::fs::read_dir(self.path("tmp"))? {
            let entry = entry?;
            let Ok(key) = entry.file_name().to_string_lossy().parse::<LayerKey>() else { continue };
            if let Some(_lock) = Lock::try_take(&self.path("locks"), key.as_str())? {
                self.discard(&entry.path())?;
            }
        }
        self.sweep_trash()
    }

    /// Forgets the layers that a power cut may have hit and the images that have them, held ones
    /// too: whoever holds one ended with that boot, and the next pull must fetch it anew.
    ///
    /// In one transaction, for which everybody else who opens the store waits: until it is
    /// committed the rows tell that the layers are doubtful.
    fn distrust(&self) -> Result<()> {
        self.records(|r| {
            r.write(|tx| {
                for key in records::doubtful(tx, &self.inner.boot)? {
                    tracing::warn!(layer = %key, "not synced before the last boot ended: forgotten");
                    self.discard(&self.layer_dir(&key))?;
                    for image in records::distrust(tx, &key)? {
                        restore::save(&self.inner.config.root, tx, &image)?;
                    }
                }
                Ok(())
            })
        })
    }

    /// Layers on disk whose record a kill or a power cut prevented.
    fn unrecorded(&self) -> Result<Vec<LayerKey>> {
        let names = std::fs::read_dir(self.path("layers"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().parse().ok()))
            .filter_map(Result::transpose);
        let keys: Vec<LayerKey> = names.collect::<Result<_>>()?;
        self.records(|r| {
            r.read(|tx| {
                let mut missing = Vec::new();
                for key in keys {
                    if records::layer(tx, &key)?.is_none() {
                        missing.push(key);
                    }
                }
                Ok(missing)
            })
        })
    }
}
