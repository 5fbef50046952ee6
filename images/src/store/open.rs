//! Opening: directories, records, and the sweep of what a killed process left.
//!
//! [`rrun_database`] says when the records are made anew.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use rrun_sys::step;

use super::lock::Lock;
use super::records::{self, Records};
use super::verify::DAMAGED;
use super::{Disk, Holder, HolderKind, LayerKey, mount_points, restore, schema};
use crate::error::{Context, Error, Result};

pub(super) const DIRS: [&str; 11] = [
    "layers",
    "splits",
    "records",
    "writable",
    "tmp",
    "partial",
    "locks",
    "trash",
    "empty",
    mount_points::FOLDER,
    "collected",
];

pub(super) fn open(root: &Path) -> Result<(Records, String, File)> {
    step::run("images.open.dirs", || {
        make_dir(root, 0o700)?;
        DIRS.iter().try_for_each(|dir| make_dir(&root.join(dir), mode(dir)))?;
        mount_points::make(&root.join(mount_points::FOLDER))
    })?;
    let boot =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
    let boot = boot.trim().to_owned();
    let lock = step::run("images.open.lock", || schema::DATABASE.lock(root))?;
    let records = step::run("images.open.records", || {
        // What is made anew knows again what is on disk beside it.
        let fill = |connection| {
            let mut records = Records::new(connection);
            restore::restore(root, &mut records, &boot)?;
            Ok(records.into_connection())
        };
        schema::DATABASE.open::<Error>(root, &lock, fill)
    })?;
    Ok((Records::new(records), boot, lock))
}

/// Of one of [`DIRS`]. The empty directory is a root that a container may see.
pub(super) fn mode(dir: &str) -> u32 {
    if dir == "empty" { 0o755 } else { 0o700 }
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let done = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    done.context(path.display())
}

impl Disk {
    /// Removes what killed processes left; what a live one is working on is locked and stays.
    pub(super) fn sweep(&self) -> Result<()> {
        self.forget_doubtful_layers()?;
        self.collect(self.unrecorded()?)?;
        for entry in std::fs::read_dir(self.path("tmp"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(key) = name.strip_suffix(DAMAGED).unwrap_or(&name).parse::<LayerKey>() else {
                continue;
            };
            if let Some(lock) = Lock::try_take(&self.path("locks"), &name)? {
                self.discard(&entry.path())?;
                if key.as_str() != name || !self.layer_dir(&key).exists() {
                    lock.remove();
                }
            }
        }
        self.sweep_splits()?;
        self.sweep_writable()?;
        self.records(|r| restore::sweep(&self.inner.config.root, r))?;
        self.sweep_locks()?;
        self.sweep_trash()
    }

    /// Locks of pulls and layers that are not there: a process was killed before they were, or after,
    /// or a power cut has taken them.
    fn sweep_locks(&self) -> Result<()> {
        let known = self.recorded()?;
        for entry in std::fs::read_dir(self.path("locks"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_pull =
                Holder::of_file_name(&name).is_ok_and(|one| one.kind() == HolderKind::Pull);
            let is_key = name.strip_suffix(DAMAGED).unwrap_or(&name).parse::<LayerKey>().is_ok();
            if (is_pull || is_key)
                && !known.contains(&name)
                && let Some(lock) = Lock::try_take(&self.path("locks"), &name)?
            {
                lock.remove();
            }
        }
        Ok(())
    }

    /// Writable layers whose lease a power cut has taken. It ends as any other does, by whoever knows
    /// what has become of the holder.
    fn sweep_writable(&self) -> Result<()> {
        let folders = std::fs::read_dir(self.path("writable"))?;
        let folders = folders.collect::<Result<Vec<_>, _>>()?;
        if folders.is_empty() {
            return Ok(());
        }
        let sql = "SELECT holder FROM lease WHERE writable=1";
        let known: HashSet<String> = self.records(|r| r.read(|tx| records::texts(tx, sql)))?;
        for folder in folders {
            let name = folder.file_name().to_string_lossy().into_owned();
            let Ok(holder) = Holder::of_file_name(&name) else { continue };
            if known.contains(&holder.to_string()) {
                continue;
            }
            if let Err(e) = self.records(|r| restore::restore_lease(r, &folder.path())) {
                tracing::warn!(%holder, error = %e, "the lease of a writable layer is not restored");
            }
        }
        Ok(())
    }

    /// Splits of layers that a killed process was unpacking, or had begun to remove.
    fn sweep_splits(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.path("splits"))? {
            let Ok(key) = entry?.file_name().to_string_lossy().parse::<LayerKey>() else {
                continue;
            };
            if self.layer_dir(&key).exists() {
                continue;
            }
            if let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str())? {
                self.remove_split(&key);
                lock.remove();
            }
        }
        Ok(())
    }

    /// Forgets the layers that a power cut may have hit and the images that have them, held ones
    /// too: whoever holds one ended with that boot, and the next pull must fetch it anew.
    ///
    /// In one transaction, for which everybody else who opens the store waits: until it is
    /// committed the rows tell that the layers are doubtful.
    fn forget_doubtful_layers(&self) -> Result<()> {
        self.records(|r| {
            r.write(|tx| {
                for key in records::doubtful(tx, &self.inner.boot)? {
                    tracing::warn!(layer = %key, "not synced before the last boot ended: forgotten");
                    self.discard(&self.layer_dir(&key))?;
                    for image in records::forget_doubtful_layer(tx, &key)? {
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
        let known = self.recorded()?;
        Ok(keys.into_iter().filter(|key| !known.contains(key.as_str())).collect())
    }

    /// The names of all layers on record.
    fn recorded(&self) -> Result<HashSet<String>> {
        self.records(|r| r.read(|tx| records::texts(tx, "SELECT key FROM layer")))
    }
}
