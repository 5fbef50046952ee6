//! Removing what nobody has any more.

use super::lock::Lock;
use super::{Disk, HolderKind, LayerKey, disk_usage, records, trash};
use crate::error::{Context, Result};
use crate::partial;

/// A layer that no image has yet may be what the next try of a failed pull wants.
const ORPHAN_SECONDS: i64 = 3600;

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
        for key in layers {
            self.remove_layer(&key).context(format_args!("layer {key}"))?;
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

    fn remove_layer(&self, key: &LayerKey) -> Result<()> {
        // Under the lock nobody unpacks the layer between our forgetting and our renaming it.
        let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str())? else { return Ok(()) };
        let name = trash::name(key.as_str());
        if !self.records(|r| r.give_back(|tx| records::forget_layer(tx, key, &name)))? {
            return Ok(());
        }
        // First: who closes the last descriptor of a file without a name waits for its bytes.
        self.unmount(key);
        self.discard_as(&self.layer_dir(key), &name)?;
        self.remove_split(key);
        lock.remove();
        Ok(())
    }
}
