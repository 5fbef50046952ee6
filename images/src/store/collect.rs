//! Removing layers that nobody has any more.

use std::io;
use std::path::Path;

use super::lock::LayerLock;
use super::{LayerKey, Store, records, trash_name};
use crate::error::{Context, Result};

/// A layer that no image has yet belongs to a pull that runs or will be tried again.
const ORPHAN_SECONDS: i64 = 3600;

impl Store {
    /// Removes those of `layers` that no image has, recorded or not, and old orphans of failed
    /// pulls. A layer that somebody works on is left to him.
    pub(crate) fn collect(&self, mut layers: Vec<LayerKey>) -> Result<()> {
        let before = records::now() - ORPHAN_SECONDS;
        layers.extend(self.records(|r| r.read(|tx| records::orphans(tx, before)))?);
        layers.sort();
        layers.dedup();
        for key in layers {
            self.remove_layer(&key).context(format_args!("layer {key}"))?;
        }
        Ok(())
    }

    fn remove_layer(&self, key: &LayerKey) -> Result<()> {
        // Under the lock nobody unpacks the layer between our forgetting and our renaming it.
        let Some(lock) = LayerLock::try_take(&self.path("locks"), key)? else { return Ok(()) };
        if !self.records(|r| r.write(|tx| records::forget_layer(tx, key)))? {
            return Ok(());
        }
        let trash = self.to_trash(&self.layer_dir(key), key.as_str())?;
        lock.remove();
        trash.map_or(Ok(()), |trash| remove_all(&trash))
    }

    /// Moves a directory out of the way at once and then removes it.
    pub(crate) fn discard(&self, dir: &Path) -> Result<()> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self.to_trash(dir, &name)? {
            Some(trash) => remove_all(&trash),
            None => Ok(()),
        }
    }

    /// `None` if it is not there.
    pub(crate) fn to_trash(&self, dir: &Path, name: &str) -> Result<Option<std::path::PathBuf>> {
        let trash = trash_name(&self.inner.config.root, name);
        match std::fs::rename(dir, &trash) {
            Ok(()) => Ok(Some(trash)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(dir.display()),
        }
    }
}

pub(super) fn remove_all(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).context(dir.display()),
        _ => Ok(()),
    }
}
