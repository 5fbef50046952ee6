//! Whether what the store has of an image is still what the image's digests say.

use std::io::{self, Write};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension};

use super::lock::Lock;
use super::{Disk, LayerKey, image_rows, records, resolve, restore, trash};
use crate::digest::{Digest, Hasher, ImageId};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Facts, Stored};

/// What a layer that is fetched anew is called behind its name meanwhile, in `tmp/`.
pub(super) const DAMAGED: &str = "-damaged";

/// A layer of an image that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The digest of its uncompressed content.
    pub diff_id: Digest,
    /// What was found.
    pub state: LayerState,
}

/// What is known of a layer after it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Its content has its digest.
    Whole,
    /// It has not, and why.
    Damaged(String),
    /// Nobody can tell, because its archive cannot be made again: it has a path more than once.
    Unknown,
}

/// Hashes what is written to it, and counts it.
pub(crate) struct Hashing {
    hasher: Hasher,
    pub(crate) bytes: u64,
}

impl Hashing {
    pub(crate) fn new(of: &Digest) -> Hashing {
        Hashing { hasher: Hasher::new(of.algorithm()), bytes: 0 }
    }

    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk {
    /// See [`crate::Store::verify`].
    pub(crate) fn verify(&self, image: &str) -> Result<Vec<Verified>> {
        let keys = self.records(|r| {
            r.read(|tx| {
                let id = resolve(tx, image)?.ok_or_else(|| Error::not_found("no such image"))?;
                let found = image_rows::images(tx, Some(&id))?.into_iter().next();
                let row = found.ok_or_else(|| Error::not_found("no such image"))?;
                row.id.digest().verify(&row.config).context("its config, in the records")?;
                records::image_layers(tx, &id)
            })
        });
        let keys = keys.context(format_args!("verify {image}"))?;
        let mut all = Vec::new();
        for key in keys {
            // A layer of directories is made of the others, and has no digest of its own.
            let Some(diff_id) = key.diff_id() else { continue };
            let state = self.verify_layer(&key, &diff_id);
            let state = state.context(format_args!("verify layer {diff_id}"))?;
            all.push(Verified { diff_id, state });
        }
        Ok(all)
    }

    /// Whether a layer is here, and whether that is sure: what no sync followed and was here when
    /// this process came may be gone though its record is not. Its disk may have failed, and have been
    /// unmounted and mounted again since.
    pub(crate) fn has_layer(&self, key: &LayerKey) -> Result<Option<bool>> {
        let sql = "SELECT durable=1 OR seq>?2 FROM layer WHERE key=?1";
        let row = (key.as_str(), self.inner.before);
        self.records(|r| {
            r.read(|tx| Ok(tx.prepare_cached(sql)?.query_row(row, |r| r.get(0)).optional()?))
        })
    }

    /// Whether a layer that is here, for all one knows, is whole; else it is removed. Under its lock.
    pub(crate) fn keep_if_whole(&self, key: &LayerKey) -> Result<bool> {
        let Some(diff_id) = key.diff_id() else { return Ok(false) };
        match self.verify_layer(key, &diff_id) {
            Ok(LayerState::Whole) => return Ok(true),
            Ok(_) => {}
            Err(e) => tracing::warn!(layer = %key, error = %e, "cannot be read: fetched again"),
        }
        self.records(|r| r.write(|tx| drop_layer(tx, key)))?;
        self.discard_layer(key, &trash::name(key.as_str()))?;
        self.remove_split(key);
        Ok(false)
    }

    fn verify_layer(&self, key: &LayerKey, diff_id: &Digest) -> Result<LayerState> {
        let facts = self.records(|r| r.read(|tx| records::layer(tx, key)))?;
        let Some(facts) = facts.filter(|_| self.layer_dir(key).is_dir()) else {
            return Ok(LayerState::Damaged("it is gone".to_owned()));
        };
        of_layer(&self.stored(key, facts.format), diff_id)
    }

    /// Takes a damaged layer out of the store, to be fetched again; the answer tells where it is
    /// meanwhile.
    ///
    /// # Errors
    /// `Exists` while somebody has it mounted: its files must not go from under him.
    pub(crate) fn set_aside(&self, diff_id: &Digest) -> Result<SetAside> {
        let key = LayerKey::of(diff_id);
        let what = format!("set aside layer {diff_id}");
        let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str()).context(&what)? else {
            return Err(Error::new(Kind::Unavailable, "somebody works on it").context(what));
        };
        let name = format!("{key}{DAMAGED}");
        let Some(claim) = Lock::try_take(&self.path("locks"), &name).context(&what)? else {
            return Err(Error::new(Kind::Unavailable, "somebody repairs it").context(what));
        };
        let to = self.path("tmp").join(name);
        let forgotten = self.discard(&to).and_then(|()| {
            // On the disk before its folder is away, as when a layer is removed.
            self.records(|r| {
                r.write_synced(|tx| {
                    if let Some(holder) = layer_holder(tx, &key)? {
                        let why =
                            format!("{holder} has it; it can be fetched again when that is gone");
                        return Err(Error::new(Kind::Exists, why));
                    }
                    let facts =
                        records::layer(tx, &key)?.ok_or_else(|| Error::not_found("gone"))?;
                    drop_layer(tx, &key)?;
                    Ok(facts)
                })
            })
        });
        let done = forgotten.and_then(|facts| match std::fs::rename(self.layer_dir(&key), &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                self.record_again(&key, &facts)?;
                Err(e.into())
            }
            _ => Ok(facts),
        });
        drop(lock);
        match done.context(what) {
            Ok(facts) => Ok(SetAside { key, facts, at: to, claim }),
            Err(e) => {
                claim.remove();
                Err(e)
            }
        }
    }

    /// Puts back what could not be fetched again: damaged as it is, it may be better than none.
    pub(crate) fn put_back(&self, aside: SetAside) -> Result<()> {
        let SetAside { key, facts, at, claim } = aside;
        let lock = Lock::try_take(&self.path("locks"), key.as_str())?;
        let is_here = self.records(|r| r.read(|tx| Ok(records::layer(tx, &key)?.is_some())))?;
        if lock.is_none() || is_here || !at.exists() {
            self.discard(&at)?;
        } else {
            std::fs::rename(&at, self.layer_dir(&key)).context(at.display())?;
            self.record_again(&key, &facts)?;
        }
        claim.remove();
        Ok(())
    }

    fn record_again(&self, key: &LayerKey, facts: &Facts) -> Result<()> {
        let boot = &self.inner.boot;
        self.records(|r| r.write(|tx| restore::add_durable(tx, key, facts, boot)))
    }

    /// It is here again.
    pub(crate) fn forget_aside(&self, aside: SetAside) -> Result<()> {
        self.discard(&aside.at)?;
        aside.claim.remove();
        Ok(())
    }

    /// The name by which an image can be pulled as it is.
    pub(crate) fn pulled_by(&self, image: &str) -> Result<Option<String>> {
        let found = self.find(image)?;
        Ok(found.and_then(|image| image.digests.into_iter().next()))
    }

    /// The layers of an image for an export: the digest of each, and where its parts are.
    pub(crate) fn parts_of(&self, id: &ImageId) -> Result<Vec<(Digest, Stored)>> {
        self.records(|r| {
            r.read(|tx| {
                let mut parts = Vec::new();
                for key in records::image_layers(tx, id)? {
                    if let (Some(diff_id), Some(facts)) = (key.diff_id(), records::layer(tx, &key)?)
                    {
                        parts.push((diff_id, self.stored(&key, facts.format)));
                    }
                }
                Ok(parts)
            })
        })
    }
}

/// A layer whose folder is there, by its archive.
pub(super) fn of_layer(layer: &Stored, diff_id: &Digest) -> Result<LayerState> {
    if !layer.has_archive() {
        return Ok(LayerState::Unknown);
    }
    let mut hashing = Hashing::new(diff_id);
    match layer.write_archive(&mut hashing) {
        Err(e) if e.kind() == Kind::Invalid => Ok(LayerState::Damaged(e.to_string())),
        Err(e) => Err(e),
        Ok(()) => Ok(match diff_id.expect_equal(&hashing.finish()) {
            Ok(()) => LayerState::Whole,
            Err(e) => LayerState::Damaged(e.to_string()),
        }),
    }
}

/// The number of the last row of a layer, see [`Disk::has_layer`].
pub(super) fn last_layer(tx: &Connection) -> Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM layer";
    Ok(tx.prepare_cached(sql)?.query_row([], |r| r.get(0))?)
}

/// Somebody who has an image with this layer, or the layer itself.
fn layer_holder(tx: &Connection, key: &LayerKey) -> Result<Option<String>> {
    let holder = tx
        .prepare_cached(
            "SELECT l.holder FROM lease l JOIN image_layer i ON i.image=l.image WHERE i.key=?1
             UNION SELECT holder FROM layer_lease WHERE key=?1 LIMIT 1",
        )?
        .query_row([key.as_str()], |r| r.get(0))
        .optional()?;
    Ok(holder)
}

/// Forgets a layer that images have: their next pull fetches it.
fn drop_layer(tx: &Connection, key: &LayerKey) -> Result<()> {
    tx.execute("DELETE FROM layer WHERE key=?1", [key.as_str()])?;
    Ok(())
}

/// A damaged layer that is to be fetched again.
#[derive(Debug)]
pub(crate) struct SetAside {
    key: LayerKey,
    facts: Facts,
    at: PathBuf,
    /// Of the name in `tmp/`: whoever died with it left what is to be swept.
    claim: Lock,
}
