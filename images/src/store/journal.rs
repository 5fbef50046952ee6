//! What was decided about images, and why: on record beside them, for whoever asks later.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, params};

use super::image_rows;
use super::records::{self, now, time};
use super::{Disk, by_digest};
use crate::digest::ImageId;
use crate::error::{Error, Result};
use crate::reference::Reference;

/// Entries that are kept.
const KEPT: i64 = 10_000;

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Our own collection.
    Collection,
    /// The kubelet that owns the node: its own collection, or the eviction manager.
    Kubelet,
    /// Another client of the CRI.
    Client,
    /// A person, by `rrun`.
    Person,
}

impl Origin {
    const ALL: [Origin; 4] = [Origin::Collection, Origin::Kubelet, Origin::Client, Origin::Person];

    /// The word for it, as it is on record.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Collection => "collection",
            Origin::Kubelet => "kubelet",
            Origin::Client => "cri-client",
            Origin::Person => "rrun",
        }
    }

    /// Whose word it is.
    pub(super) fn of(text: &str) -> Option<Origin> {
        Origin::ALL.into_iter().find(|origin| origin.as_str() == text)
    }
}

/// One decision about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, to the second.
    pub at: SystemTime,
    /// The image.
    pub image: ImageId,
    /// The names that it had, tags and digests.
    pub names: Vec<String>,
    /// Whether it went; else it stayed.
    pub is_removed: bool,
    /// Who decided.
    pub origin: Origin,
    /// Why.
    pub why: String,
    /// Bytes of its layers that nobody else had.
    pub bytes: u64,
}

/// Records a decision. One to keep an image is recorded when the last one was another.
pub(super) fn add(tx: &Connection, entry: &Entry) -> Result<()> {
    let image = entry.image.to_string();
    if !entry.is_removed {
        let last: Option<bool> = tx
            .prepare_cached(
                "SELECT why=?2 AND removed=0 FROM journal WHERE image=?1 ORDER BY seq DESC LIMIT 1",
            )?
            .query_row([image.as_str(), entry.why.as_str()], |r| r.get(0))
            .optional()?;
        if last == Some(true) {
            return Ok(());
        }
    }
    let names = serde_json::to_string(&entry.names).map_err(Error::invalid)?;
    let (origin, bytes) = (entry.origin.as_str(), entry.bytes.cast_signed());
    tx.prepare_cached(
        "INSERT INTO journal(at, image, names, removed, origin, why, bytes)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![now(), image, names, entry.is_removed, origin, entry.why, bytes])?;
    tx.prepare_cached("DELETE FROM journal WHERE seq <= (SELECT max(seq) FROM journal) - ?1")?
        .execute([KEPT])?;
    Ok(())
}

fn entries(tx: &Connection) -> Result<Vec<Entry>> {
    let mut select = tx.prepare_cached(
        "SELECT at, image, names, removed, origin, why, bytes FROM journal ORDER BY seq DESC",
    )?;
    let rows = select.query_map([], |r| {
        let (image, names, origin): (String, String, String) = (r.get(1)?, r.get(2)?, r.get(4)?);
        let (at, is_removed, why): (i64, bool, String) = (r.get(0)?, r.get(3)?, r.get(5)?);
        Ok((at, image, names, is_removed, origin, why, r.get::<_, i64>(6)?))
    })?;
    let mut all = Vec::new();
    for row in rows {
        let (at, image, names, is_removed, origin, why, bytes) = row?;
        let unknown = || Error::invalid(format_args!("origin {origin:?}"));
        let origin = Origin::of(&origin).ok_or_else(unknown)?;
        let names = serde_json::from_str(&names).map_err(Error::invalid)?;
        let (at, image, bytes) = (time(at), image.parse()?, bytes.cast_unsigned());
        all.push(Entry { at, image, names, is_removed, origin, why, bytes });
    }
    Ok(all)
}

impl Entry {
    /// Whether `text` means this image: its id or the start of it, or a name that it had.
    fn is_about(&self, text: &str) -> bool {
        let id = text.strip_prefix("sha256:").unwrap_or(text);
        if id.len() >= super::resolve::SHORTEST_PREFIX && self.image.digest().hex().starts_with(id)
        {
            return true;
        }
        let Ok(reference) = text.parse::<Reference>() else { return false };
        self.names.contains(&reference.tagged().unwrap_or_else(|| by_digest(&reference)))
    }
}

impl Disk {
    /// See [`crate::Store::journal`].
    pub(crate) fn journal(&self, image: Option<&str>) -> Result<Vec<Entry>> {
        let mut all = self.records(|r| r.read(entries))?;
        if let Some(image) = image {
            all.retain(|entry| entry.is_about(image));
        }
        Ok(all)
    }

    /// Takes an image out of sight and records why; its layers are to be collected.
    pub(super) fn take_out(
        &self,
        tx: &Connection,
        id: &ImageId,
        (origin, why): (Origin, &str),
    ) -> Result<Vec<super::LayerKey>> {
        let names = image_rows::names(tx, &id.to_string())?.into_iter().map(|(name, _)| name);
        let entry = Entry {
            at: SystemTime::UNIX_EPOCH,
            image: id.clone(),
            names: names.collect(),
            is_removed: true,
            origin,
            why: why.to_owned(),
            bytes: exclusive_bytes(tx, id)?,
        };
        let layers = records::image_layers(tx, id)?;
        records::remove_image(tx, id)?;
        let remove_copy = || super::restore::save(&self.inner.config.root, tx, id);
        rrun_sys::step::run("images.remove.copy", remove_copy)?;
        add(tx, &entry)?;
        Ok(layers)
    }
}

/// Bytes of the layers that only this image has.
fn exclusive_bytes(tx: &Connection, id: &ImageId) -> Result<u64> {
    let bytes: i64 = tx
        .prepare_cached(
            "SELECT coalesce(sum(l.bytes + l.split), 0) FROM image_layer i JOIN layer l ON l.key=i.key
             WHERE i.image=?1 AND l.key NOT IN (SELECT key FROM layer_lease)
             AND NOT EXISTS (SELECT 1 FROM image_layer o WHERE o.key=l.key AND o.image<>?1)",
        )?
        .query_row([id.to_string()], |r| r.get(0))?;
    Ok(bytes.cast_unsigned())
}
