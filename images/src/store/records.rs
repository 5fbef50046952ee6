//! The records: SQLite in WAL mode, written by several processes at once.
//!
//! `synchronous=NORMAL`: a commit is a write without a sync, a power cut may lose the last commits but
//! never breaks the file, because checkpoints sync. What the lost commits said is found again on disk
//! by whoever opens the store next. What must not be lost is synced: see [`Records::synced`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rrun_database::WalIndex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::documents;
use super::key::{Holder, LayerKey};
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Kind, Result};
use crate::layer::{Facts, Format};
use crate::reference::Reference;

/// `name.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Tag = 0,
    Digest = 1,
}

/// An image to be recorded.
pub(crate) struct NewImage<'a> {
    pub id: &'a ImageId,
    pub config: &'a [u8],
    /// Bottom first, each once.
    pub layers: &'a [LayerKey],
    pub names: &'a [(String, NameKind)],
    /// See [`documents`]; where there are none, those that are known stay.
    pub documents: &'a [Vec<u8>],
}

pub(crate) struct Records {
    db: Connection,
}

impl Records {
    /// What [`super::schema::DATABASE`] has opened.
    pub(crate) fn new(db: Connection) -> Records {
        Records { db }
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.db
    }

    /// One transaction, which holds the write lock from the start: no other process changes
    /// anything between its reads and its writes.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        transact(&mut self.db, work)
    }

    /// The same for what gives something back, on a full disk as well.
    pub(crate) fn give_back<T>(
        &mut self,
        work: impl Fn(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let is_full = |error: &Error| error.kind() == Kind::Exhausted;
        rrun_database::give_back(&mut self.db, is_full, |db| transact(db, &work))
    }

    /// What was read before is still so as long as this is the same: it counts the changes of this
    /// process and those of others.
    pub(crate) fn state(&self) -> Result<(i64, u64)> {
        let others = self.db.query_row("PRAGMA data_version", [], |r| r.get(0))?;
        Ok((others, self.db.total_changes()))
    }

    /// Their WAL-index, to be asked as long as they are open.
    pub(super) fn index(&self) -> Option<WalIndex> {
        WalIndex::of(&self.db)
    }

    /// After a sync that has failed, see [`rrun_database::begin_log_anew`].
    pub(super) fn begin_log_anew(&self) {
        rrun_database::begin_log_anew(&self.db);
    }

    /// What `work` writes, and all that was written before, is on the disk when this returns.
    pub(crate) fn synced<T>(&mut self, work: impl FnOnce(&mut Records) -> Result<T>) -> Result<T> {
        self.db.pragma_update(None, "synchronous", "FULL")?;
        let done = work(self);
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        done
    }

    /// [`Records::write`], on the disk when it returns.
    pub(crate) fn write_synced<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.synced(|r| r.write(work))
    }

    /// Reads that belong together.
    pub(crate) fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let tx = self.db.transaction()?;
        work(&tx)
    }
}

fn transact<T>(db: &mut Connection, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&tx)?;
    if let Err(e) = tx.commit().map_err(rrun_database::Error::from) {
        if e.is_of_sync() {
            rrun_database::begin_log_anew(db);
        }
        return Err(e.into());
    }
    Ok(done)
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs())
}

/// Records an unpacked layer.
pub(crate) fn add_layer(tx: &Connection, key: &LayerKey, facts: &Facts, boot: &str) -> Result<()> {
    let implied = serde_json::to_string(&facts.implied).map_err(Error::invalid)?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO layer(key, bytes, inodes, implied, opaque, split, boot, used,
         format) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        key.as_str(),
        facts.bytes.cast_signed(),
        facts.inodes.cast_signed(),
        implied,
        facts.is_opaque,
        facts.split.cast_signed(),
        boot,
        now(),
        facts.format.as_str()
    ])?;
    Ok(())
}

/// What lies beside a layer counts with it.
pub(super) fn grow_layer(tx: &Connection, key: &LayerKey, more: &Facts) -> Result<()> {
    let sql = "UPDATE layer SET bytes=bytes+?2, inodes=inodes+?3 WHERE key=?1";
    let (bytes, inodes) = (more.bytes.cast_signed(), more.inodes.cast_signed());
    tx.prepare_cached(sql)?.execute(params![key.as_str(), bytes, inodes])?;
    Ok(())
}

/// What is recorded of a layer.
pub(crate) fn layer(tx: &Connection, key: &LayerKey) -> Result<Option<Facts>> {
    let row = tx
        .prepare_cached(
            "SELECT bytes, inodes, split, implied, opaque, format FROM layer WHERE key=?1",
        )?
        .query_row([key.as_str()], |r| {
            let sizes: [i64; 3] = [r.get(0)?, r.get(1)?, r.get(2)?];
            Ok((sizes, r.get::<_, String>(3)?, r.get::<_, bool>(4)?, r.get::<_, String>(5)?))
        })
        .optional()?;
    let Some((sizes, implied, is_opaque, format)) = row else { return Ok(None) };
    let format = Format::parse(&format)
        .map_err(|e| Error::new(Kind::Internal, e).context(format_args!("layer {key}")))?;
    let implied = serde_json::from_str(&implied)
        .map_err(|e| Error::new(Kind::Internal, e).context(format_args!("layer {key}")))?;
    let [bytes, inodes, split] = sizes.map(i64::cast_unsigned);
    Ok(Some(Facts { bytes, inodes, implied, is_opaque, split, format }))
}

/// Records an image and its names, or tells which of its layers have been removed meanwhile.
/// A name that another image had moves to this one.
pub(crate) fn add_image(tx: &Connection, image: &NewImage<'_>) -> Result<Vec<LayerKey>> {
    let mut missing = Vec::new();
    let mut size = 0;
    for key in image.layers {
        match layer(tx, key)? {
            Some(facts) => size += facts.bytes,
            None => missing.push(key.clone()),
        }
    }
    if !missing.is_empty() {
        return Ok(missing);
    }
    let id = image.id.to_string();
    // kubelet's size is what removing the image would free; nothing is never right.
    let size = size.max(image.config.len() as u64).cast_signed();
    tx.execute(
        "INSERT INTO image(id, config, size, used, detected) VALUES(?1, ?2, ?3, ?4, ?4)
         ON CONFLICT(id) DO UPDATE SET detected=iif(removed, ?4, detected), removed=0, config=?2,
         size=?3, used=?4",
        params![id, image.config, size, now()],
    )?;
    set_layers(tx, &id, image.layers)?;
    if !image.documents.is_empty() {
        documents::set(tx, &id, image.documents)?;
    }
    for (name, kind) in image.names {
        add_name(tx, name, *kind, &id)?;
    }
    Ok(missing)
}

/// Records which layers an image has, bottom first.
pub(super) fn set_layers(tx: &Connection, id: &str, layers: &[LayerKey]) -> Result<()> {
    tx.execute("DELETE FROM image_layer WHERE image=?1", [id])?;
    for (pos, key) in layers.iter().enumerate() {
        tx.prepare_cached("INSERT INTO image_layer(image, pos, key) VALUES(?1, ?2, ?3)")?
            .execute(params![id, i64::try_from(pos).unwrap_or(i64::MAX), key.as_str()])?;
    }
    Ok(())
}

/// The layers of an image, bottom first.
pub(crate) fn image_layers(tx: &Connection, id: &ImageId) -> Result<Vec<LayerKey>> {
    let mut select =
        tx.prepare_cached("SELECT key FROM image_layer WHERE image=?1 ORDER BY pos")?;
    let rows = select.query_map([id.to_string()], |r| r.get::<_, String>(0))?;
    rows.map(|key| key?.parse()).collect()
}

/// The image that has this name, tag or digest.
pub(crate) fn by_name(tx: &Connection, name: &str) -> Result<Option<ImageId>> {
    let id: Option<String> = tx
        .prepare_cached("SELECT image FROM name WHERE name=?1")?
        .query_row([name], |r| r.get(0))
        .optional()?;
    id.map(|id| id.parse()).transpose()
}

/// The image that was pulled by this digest, of a manifest or an index, from anywhere.
pub(crate) fn by_digest(tx: &Connection, digest: &str) -> Result<Option<ImageId>> {
    let id: Option<String> = tx
        .prepare_cached("SELECT image FROM name WHERE kind=1 AND name LIKE '%@' || ?1 LIMIT 1")?
        .query_row([digest], |r| r.get(0))
        .optional()?;
    id.map(|id| id.parse()).transpose()
}

/// Whether an image was pulled by this reference.
pub(crate) fn knows(tx: &Connection, reference: &Reference) -> Result<bool> {
    let name = reference
        .tagged()
        .or_else(|| reference.digest().map(|digest| format!("{}@{digest}", reference.name())));
    match name {
        Some(name) => Ok(by_name(tx, &name)?.is_some()),
        None => Ok(false),
    }
}

/// The whole image that was pulled from there by this digest, if it is here: the reference names
/// it from now on, and it is used now.
pub(crate) fn renew(
    tx: &Connection,
    reference: &Reference,
    digest: &Digest,
) -> Result<Option<ImageId>> {
    let Some(id) = by_name(tx, &format!("{}@{digest}", reference.name()))? else { return Ok(None) };
    for key in image_layers(tx, &id)? {
        if layer(tx, &key)?.is_none() {
            return Ok(None);
        }
    }
    if !touch(tx, &id)? {
        return Ok(None);
    }
    if let Some(tag) = reference.tagged() {
        add_name(tx, &tag, NameKind::Tag, &id.to_string())?;
    }
    Ok(Some(id))
}

pub(crate) fn add_name(tx: &Connection, name: &str, kind: NameKind, id: &str) -> Result<()> {
    tx.execute(
        "INSERT OR REPLACE INTO name(name, kind, image) VALUES(?1, ?2, ?3)",
        params![name, kind as i64, id],
    )?;
    Ok(())
}

pub(crate) fn remove_name(tx: &Connection, name: &str) -> Result<()> {
    tx.execute("DELETE FROM name WHERE name=?1", [name])?;
    Ok(())
}

/// The images whose id begins so, at most two.
pub(crate) fn by_prefix(tx: &Connection, start: &str) -> Result<Vec<ImageId>> {
    let mut select = tx.prepare_cached(
        "SELECT id FROM image WHERE removed=0 AND id >= ?1 AND id < ?1 || 'g' LIMIT 2",
    )?;
    let rows = select.query_map([start], |r| r.get::<_, String>(0))?;
    rows.map(|id| id?.parse()).collect()
}

/// Whether the image is there and not removed; marks it used.
pub(crate) fn touch(tx: &Connection, id: &ImageId) -> Result<bool> {
    let n = tx
        .prepare_cached("UPDATE image SET used=?2 WHERE id=?1 AND removed=0")?
        .execute(params![id.to_string(), now()])?;
    Ok(n == 1)
}

/// The image of which `holder` has a writable layer.
pub(crate) fn writable(tx: &Connection, holder: &Holder) -> Result<Option<ImageId>> {
    let id: Option<String> = tx
        .prepare_cached("SELECT image FROM lease WHERE holder=?1 AND writable=1")?
        .query_row([holder.to_string()], |r| r.get(0))
        .optional()?;
    id.map(|id| id.parse()).transpose()
}

/// The images that `holder` holds.
pub(crate) fn held(tx: &Connection, holder: &Holder) -> Result<Vec<ImageId>> {
    let mut select = tx.prepare_cached("SELECT image FROM lease WHERE holder=?1 ORDER BY image")?;
    let rows = select.query_map([holder.to_string()], |r| r.get::<_, String>(0))?;
    rows.map(|id| id?.parse()).collect()
}

/// Records a lease; one that is there may become writable.
pub(crate) fn add_lease(tx: &Connection, holder: &Holder, id: &ImageId, rw: bool) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO lease(holder, image, writable) VALUES(?1, ?2, ?3)
         ON CONFLICT(holder, image) DO UPDATE SET writable=max(writable, ?3)",
    )?
    .execute(params![holder.to_string(), id.to_string(), rw])?;
    Ok(())
}

/// Records that `holder` holds a layer, which may not be here yet.
pub(crate) fn hold_layer(tx: &Connection, holder: &Holder, key: &LayerKey) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO layer_lease(holder, key) VALUES(?1, ?2)")?
        .execute(params![holder.to_string(), key.as_str()])?;
    Ok(())
}

/// Ends one lease, and the image with it if it was removed and nobody else holds it.
pub(crate) fn end_lease(tx: &Connection, holder: &Holder, id: &ImageId) -> Result<()> {
    used(tx, holder)?;
    tx.prepare_cached("DELETE FROM lease WHERE holder=?1 AND image=?2")?
        .execute(params![holder.to_string(), id.to_string()])?;
    drop_unheld(tx)
}

/// Ends all that `holder` holds, likewise. What was held is used until now.
pub(crate) fn end_leases(tx: &Connection, holder: &Holder) -> Result<()> {
    used(tx, holder)?;
    let holder = holder.to_string();
    tx.prepare_cached("DELETE FROM lease WHERE holder=?1")?.execute([&holder])?;
    tx.prepare_cached("DELETE FROM layer_lease WHERE holder=?1")?.execute([&holder])?;
    drop_unheld(tx)
}

/// Forgets removed images that nobody holds.
pub(super) fn drop_unheld(tx: &Connection) -> Result<()> {
    tx.prepare_cached("DELETE FROM image WHERE removed=1 AND id NOT IN (SELECT image FROM lease)")?
        .execute([])?;
    Ok(())
}

/// The texts that this selects.
pub(super) fn texts<T: FromIterator<String>>(tx: &Connection, sql: &str) -> Result<T> {
    Ok(tx.prepare_cached(sql)?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?)
}

/// All holders.
pub(crate) fn all_holders(tx: &Connection) -> Result<Vec<Holder>> {
    let sql = "SELECT holder FROM lease UNION SELECT holder FROM layer_lease ORDER BY holder";
    texts::<Vec<String>>(tx, sql)?.iter().map(|holder| holder.parse()).collect()
}

/// Marks what `holder` holds as used now, unless that is on record to the minute.
pub(crate) fn used(tx: &Connection, holder: &Holder) -> Result<()> {
    tx.prepare_cached(
        "UPDATE image SET used=?2 WHERE used < ?2 - 60
         AND id IN (SELECT image FROM lease WHERE holder=?1)",
    )?
    .execute(params![holder.to_string(), now()])?;
    Ok(())
}

/// Takes an image out of sight; its row stays as long as somebody holds it.
pub(crate) fn remove_image(tx: &Connection, id: &ImageId) -> Result<()> {
    let id = id.to_string();
    tx.execute("DELETE FROM name WHERE image=?1", [&id])?;
    tx.execute("UPDATE image SET removed=1 WHERE id=?1", [&id])?;
    tx.execute("DELETE FROM image WHERE id=?1 AND id NOT IN (SELECT image FROM lease)", [&id])?;
    Ok(())
}

/// Layers that nobody has and that were unpacked before `before`.
pub(crate) fn orphans(tx: &Connection, before: i64) -> Result<Vec<LayerKey>> {
    let mut select = tx.prepare_cached(
        "SELECT key FROM layer WHERE used <= ?1 AND key NOT IN (SELECT key FROM image_layer)
         AND key NOT IN (SELECT key FROM layer_lease)",
    )?;
    let rows = select.query_map([before], |r| r.get::<_, String>(0))?;
    rows.map(|key| key?.parse()).collect()
}

/// Forgets a layer unless somebody has it; its bytes are in the trash under `name` from now on.
/// Tells whether there is no record of it now.
pub(crate) fn forget_layer(tx: &Connection, key: &LayerKey, name: &str) -> Result<bool> {
    let is_held: bool = tx.query_row(
        "SELECT ?1 IN (SELECT key FROM image_layer) OR ?1 IN (SELECT key FROM layer_lease)",
        [key.as_str()],
        |r| r.get(0),
    )?;
    if is_held {
        return Ok(layer(tx, key)?.is_none());
    }
    tx.execute(
        "INSERT INTO trash(name, bytes, inodes)
         SELECT ?2, bytes + split, inodes + (split > 0) FROM layer WHERE key=?1",
        params![key.as_str(), name],
    )?;
    tx.execute("DELETE FROM layer WHERE key=?1", [key.as_str()])?;
    Ok(true)
}

/// Names of layers in the trash.
pub(crate) fn trash(tx: &Connection) -> Result<Vec<String>> {
    texts(tx, "SELECT name FROM trash")
}

/// What had this name in the trash is deleted.
pub(crate) fn forget_trash(tx: &Connection, name: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM trash WHERE name=?1")?.execute([name])?;
    Ok(())
}

/// Those of the layers that no sync followed yet, by the numbers of their rows, which are never
/// given twice.
pub(crate) fn fresh(tx: &Connection, keys: &[LayerKey]) -> Result<Vec<i64>> {
    let mut select = tx.prepare_cached("SELECT seq FROM layer WHERE key=?1 AND durable=0")?;
    let mut fresh = Vec::new();
    for key in keys {
        fresh.extend(select.query_row([key.as_str()], |r| r.get::<_, i64>(0)).optional()?);
    }
    Ok(fresh)
}

/// A sync that began after these rows were read has ended.
pub(crate) fn mark_durable(tx: &Connection, rows: &[i64]) -> Result<()> {
    let mut update = tx.prepare_cached("UPDATE layer SET durable=1 WHERE seq=?1")?;
    for row in rows {
        update.execute([row])?;
    }
    Ok(())
}

/// Layers that another boot unpacked and that no sync followed: a power cut may have emptied
/// their files.
pub(crate) fn doubtful(tx: &Connection, boot: &str) -> Result<Vec<LayerKey>> {
    let mut select = tx.prepare_cached("SELECT key FROM layer WHERE durable=0 AND boot<>?1")?;
    let rows = select.query_map([boot], |r| r.get::<_, String>(0))?;
    rows.map(|key| key?.parse()).collect()
}

/// Forgets a doubtful layer and takes the images that have it out of sight; tells which. A held
/// image keeps its list of layers, which a new pull fills again.
pub(crate) fn forget_doubtful_layer(tx: &Connection, key: &LayerKey) -> Result<Vec<ImageId>> {
    let mut select = tx.prepare_cached("SELECT DISTINCT image FROM image_layer WHERE key=?1")?;
    let rows = select.query_map([key.as_str()], |r| r.get::<_, String>(0))?;
    let images: Vec<ImageId> = rows.map(|id| id?.parse()).collect::<Result<_>>()?;
    for image in &images {
        remove_image(tx, image)?;
    }
    tx.execute("DELETE FROM layer WHERE key=?1", [key.as_str()])?;
    Ok(images)
}
