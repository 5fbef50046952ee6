//! Opening: directories, records, and the sweep of what a killed process left.

use std::io;
use std::path::Path;

use rrun_sys::step;

use super::lock::LayerLock;
use super::records::{self, Records};
use super::{LayerKey, Store, restore};
use crate::error::{Context, Kind, Result};

const DIRS: [&str; 7] = ["layers", "records", "writable", "tmp", "locks", "trash", "empty"];

pub(super) fn open(root: &Path) -> Result<(Records, String)> {
    step::only("images.open.dirs", || {
        make_dir(root, 0o700)?;
        // The empty directory is a root that a container may see.
        let mode = |dir| if dir == "empty" { 0o755 } else { 0o700 };
        DIRS.iter().try_for_each(|dir| make_dir(&root.join(dir), mode(*dir)))
    })?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot id")?;
    let path = root.join("records.db");
    let records = match step::only("images.open.records", || Records::open(&path)) {
        // A newer program's records are not damaged, nor are those that cannot be read now.
        Err(e) if e.kind() == Kind::Internal => {
            tracing::warn!(error = %e, "image records are set aside and made anew");
            set_aside(&path)?;
            let mut records = Records::open(&path)?;
            restore::restore(root, &mut records, boot.trim())?;
            records
        }
        done => done?,
    };
    Ok((records, boot.trim().to_owned()))
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

impl Store {
    /// Removes what killed processes left; what a live one is working on is locked and stays.
    pub(super) fn sweep(&self) -> Result<()> {
        self.distrust()?;
        self.collect(self.unrecorded()?)?;
        for entry in std::fs::read_dir(self.path("tmp"))? {
            let entry = entry?;
            let Ok(key) = entry.file_name().to_string_lossy().parse::<LayerKey>() else { continue };
            if let Some(_lock) = LayerLock::try_take(&self.path("locks"), &key)? {
                self.discard(&entry.path())?;
            }
        }
        let trash = self.path("trash");
        if std::fs::read_dir(&trash)?.next().is_some() {
            // May be a whole image; nobody waits for it.
            std::thread::Builder::new().name("sweep".to_owned()).spawn(move || empty(&trash))?;
        }
        Ok(())
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
                    self.to_trash(&self.layer_dir(&key), key.as_str())?;
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

/// Several processes may do this at once, so what is gone already is no error.
fn empty(trash: &Path) {
    for entry in std::fs::read_dir(trash).into_iter().flatten().flatten() {
        if let Err(e) = std::fs::remove_dir_all(entry.path())
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %entry.path().display(), error = %e, "left behind");
        }
    }
}
