//! Removing what nobody has any more.

use rrun_sys::step;
use rusqlite::Transaction;

use super::lock::Lock;
use super::{Disk, HolderKind, LayerKey, disk_usage, records, trash};
use crate::error::{Context, Error, Result};
use crate::partial;

/// A layer that no image has yet may be what the next try of a failed pull wants.
const ORPHAN_SECONDS: i64 = 3600;
/// Layers whose removal is written to the disk together.
const AT_ONCE: usize = 64;

impl Disk {
    /// Removes those of `layers` that nobody has, recorded or not, and old orphans of failed
    /// pulls. A layer that somebody works on stays until they are done.
    pub(crate) fn collect(&self, layers: Vec<LayerKey>) -> Result<()> {
        partial::sweep(&self.path("partial"), false)?;
        self.count_partials()?;
        self.collect_from(layers, records::now() - ORPHAN_SECONDS)
    }

    /// Removes all orphans and kept parts of layers, for a pull that found the disk full: it needs
    /// their room.
    pub(crate) fn collect_orphans(&self) -> Result<()> {
        partial::sweep(&self.path("partial"), true)?;
        self.count_partials()?;
        self.collect_from(Vec::new(), records::now())
    }

    /// Records what the kept parts of layers take: one folder is read, with a file for each.
    pub(crate) fn count_partials(&self) -> Result<()> {
        let found = partial::measure(&self.path("partial"))?;
        self.records(|r| r.give_back(|tx| disk_usage::set_partials(tx, found)))
    }

    fn collect_from(&self, mut layers: Vec<LayerKey>, before: i64) -> Result<()> {
        self.release_dead_pulls()?;
        self.unmount_gone();
        layers.extend(self.records(|r| r.read(|tx| records::orphans(tx, before)))?);
        layers.sort();
        layers.dedup();
        layers.chunks(AT_ONCE).try_for_each(|some| self.remove_layers(some))
    }

    /// Removes the layers that no sync followed, after one that has failed: the kernel tells of what it
    /// could not write once, and takes it for written from then on. Other pulls fetch them again.
    pub(super) fn forget_unsynced(&self) -> Result<()> {
        let forgotten: Vec<String> = self.records(|r| {
            r.give_back(|tx| {
                let keys = records::texts(tx, "SELECT key FROM layer WHERE durable=0")?;
                tx.execute("DELETE FROM layer WHERE durable=0", [])?;
                Ok(keys)
            })
        })?;
        for key in forgotten.iter().filter_map(|key| key.parse::<LayerKey>().ok()) {
            // Whoever works on it makes its folder anew.
            let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str())? else { continue };
            if self.has_layer(&key)?.is_none() {
                self.discard_layer(&key, &trash::name(key.as_str()))?;
                self.remove_split(&key);
                lock.remove();
            }
        }
        Ok(())
    }

    /// A pull holds a lock of its name as long as it runs.
    fn release_dead_pulls(&self) -> Result<()> {
        let holders = self.records(|r| r.read(records::all_holders))?;
        for holder in holders.iter().filter(|holder| holder.kind() == HolderKind::Pull) {
            if let Some(lock) = Lock::try_take(&self.path("locks"), &holder.file_name())? {
                self.records(|r| r.give_back(|tx| records::end_leases(tx, holder)))?;
                lock.remove();
            }
        }
        Ok(())
    }

    /// Moves a layer that is not on record any more out of the way, under its lock.
    pub(super) fn discard_layer(&self, key: &LayerKey, name: &str) -> Result<()> {
        self.unmount(key);
        let discarded = self.discard_as(&self.layer_dir(key), name);
        if self.is_unmounting() {
            self.empty_behind();
        }
        discarded.context(format_args!("layer {key}"))
    }

    fn remove_layers(&self, keys: &[LayerKey]) -> Result<()> {
        let mut going: Vec<(&LayerKey, String, Lock)> = Vec::new();
        for key in keys {
            // Under the lock nobody unpacks the layer between our forgetting and our renaming it.
            if let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str())? {
                going.push((key, trash::name(key.as_str()), lock));
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        // On the disk, with the removal of its images, before the first folder is out of the way: a
        // power cut must not leave a record of what is gone.
        let forget = |tx: &Transaction<'_>| {
            let each = going.iter().map(|(key, name, _)| records::forget_layer(tx, key, name));
            each.collect::<Result<Vec<bool>>>()
        };
        let forgotten = step::run("images.collect.forget", || {
            self.records(|r| r.synced(|r| r.give_back(forget)))
        })?;
        let gone =
            going.into_iter().zip(forgotten).filter_map(|(one, is_gone)| is_gone.then_some(one));
        for (key, name, lock) in gone {
            step::run("images.collect.move", || self.discard_layer(key, &name))?;
            step::run("images.collect.split", || {
                self.remove_split(key);
                Ok::<_, Error>(())
            })?;
            step::run("images.collect.unlock", || {
                lock.remove();
                Ok::<_, Error>(())
            })?;
        }
        Ok(())
    }
}
