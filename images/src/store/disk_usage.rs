//! What images take of the disk, layer by layer and in all.

use rusqlite::Connection;

use super::{Disk, LayerKey, image_rows};
use crate::digest::{Digest, ImageId};
use crate::error::Result;
use crate::gc::Amount;

/// A layer of an image, as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerUsage {
    /// The digest of its uncompressed content. None for the layer of directories that the store
    /// puts on top of an image whose layers leave some out.
    pub diff_id: Option<Digest>,
    /// Bytes that it takes, with the split that its archive is made of again.
    pub bytes: u64,
    /// Inodes that it takes, likewise.
    pub inodes: u64,
    /// Images and running pulls that have it. Images count that were removed and are still held.
    pub users: u64,
}

/// The layers of an image, bottom first, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUsage {
    /// The image.
    pub id: ImageId,
    /// Its layers.
    pub layers: Vec<LayerUsage>,
}

impl ImageUsage {
    /// Bytes of all its layers.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// Bytes of the layers that nobody else has: what removing it frees, once nobody holds it.
    pub fn exclusive_bytes(&self) -> u64 {
        let alone = self.layers.iter().filter(|layer| layer.users == 1);
        alone.map(|layer| layer.bytes).sum()
    }
}

impl Disk {
    /// See [`crate::Store::disk_usage`].
    pub(crate) fn disk_usage(&self) -> Result<Vec<ImageUsage>> {
        self.records(|r| r.read(disk_usage))
    }
}

fn disk_usage(tx: &Connection) -> Result<Vec<ImageUsage>> {
    let ids = image_rows::images(tx, None)?.into_iter().map(|image| image.id);
    let mut select = tx.prepare_cached(
        "SELECT l.key, l.bytes + l.split, l.inodes + (l.split > 0),
             (SELECT count(*) FROM image_layer o WHERE o.key=l.key)
             + (SELECT count(*) FROM layer_lease o WHERE o.key=l.key)
         FROM image_layer i JOIN layer l ON l.key=i.key WHERE i.image=?1 ORDER BY i.pos",
    )?;
    let mut all = Vec::new();
    for id in ids {
        let rows = select.query_map([id.to_string()], |r| {
            let (key, bytes, inodes): (String, i64, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            Ok((key, bytes, inodes, r.get::<_, i64>(3)?))
        })?;
        let mut layers = Vec::new();
        for row in rows {
            let (key, bytes, inodes, users) = row?;
            let diff_id = key.parse::<LayerKey>()?.diff_id();
            let [bytes, inodes, users] = [bytes, inodes, users].map(i64::cast_unsigned);
            layers.push(LayerUsage { diff_id, bytes, inodes, users });
        }
        all.push(ImageUsage { id, layers });
    }
    Ok(all)
}

/// Bytes and inodes of what is in the trash.
pub(super) fn trash_size(tx: &Connection) -> Result<Amount> {
    let (bytes, inodes): (i64, i64) = tx
        .prepare_cached("SELECT coalesce(sum(bytes), 0), coalesce(sum(inodes), 0) FROM trash")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(Amount { bytes: bytes.cast_unsigned(), inodes: inodes.cast_unsigned() })
}

/// What the kept parts of layers take by now.
pub(super) fn set_partials(tx: &Connection, found: Amount) -> Result<()> {
    let (bytes, inodes) = (found.bytes.cast_signed(), found.inodes.cast_signed());
    // Mostly there are none, as before, and then nothing is written.
    tx.prepare_cached("UPDATE partial SET bytes=?1, inodes=?2 WHERE bytes<>?1 OR inodes<>?2")?
        .execute([bytes, inodes])?;
    Ok(())
}

/// Bytes and inodes of all layers with their splits, those that are being removed included, and of
/// the kept parts of others.
pub(super) fn totals(tx: &Connection) -> Result<(u64, u64)> {
    let (bytes, inodes): (i64, i64) = tx
        .prepare_cached(
            "SELECT coalesce(sum(bytes), 0), coalesce(sum(inodes), 0) FROM
             (SELECT bytes + split AS bytes, inodes + (split > 0) AS inodes FROM layer
              UNION ALL SELECT bytes, inodes FROM trash
              UNION ALL SELECT bytes, inodes FROM partial)",
        )?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok((bytes.cast_unsigned(), inodes.cast_unsigned()))
}
