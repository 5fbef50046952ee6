//! Putting right what was found, as far as it wants no registry.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::rows::{BUSY, rows};
use super::{Found, Remedy};
use crate::config;
use crate::digest::ImageId;
use crate::error::{Context, Error, Kind, Result};
use crate::source::Parts;
use crate::store::schema::DATABASE;
use crate::store::{Disk, LayerKey, Lock, Origin, image_rows, records, restore, trash};

/// What must be right before the store can be opened: the answer tells of each what was done.
pub(crate) fn before_opening(root: &Path, found: &[Found]) -> Vec<Option<Result<&'static str>>> {
    let is_renewed = found.iter().any(|one| one.remedy == Remedy::Renew);
    let mut renewed = None;
    let mend = |one: &Found| match &one.remedy {
        Remedy::Renew => {
            let renew = || DATABASE.renew(root).map_err(Error::from);
            let done = renewed.get_or_insert_with(renew).clone();
            Some(done.map(|()| "set aside, and made anew from the copies"))
        }
        // It is not in what is made anew.
        Remedy::Delete(..) if is_renewed => Some(Ok("deleted")),
        Remedy::Delete(table, condition, value) => {
            let sql = format!("DELETE FROM {table} WHERE {condition}");
            Some(delete(root, &sql, value).map(|()| "deleted"))
        }
        Remedy::Close(path, mode) => Some(close(path, *mode).map(|()| "closed")),
        _ => None,
    };
    found.iter().map(mend).collect()
}

/// A store with such a row may be one that cannot be opened.
fn delete(root: &Path, sql: &str, value: &str) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = Connection::open_with_flags(root.join(DATABASE.file), flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db.execute(sql, [value]).map(drop)?)
}

fn close(path: &Path, mode: u32) -> Result<()> {
    let us = nix::unistd::geteuid().as_raw();
    chown(path, Some(us), None).context(path.display())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).context(path.display())
}

impl Disk {
    /// Does what `remedy` says, in the store that is open by now: what was done.
    pub(crate) fn mend(&self, remedy: &Remedy) -> Result<&'static str> {
        match remedy {
            Remedy::SaveCopy(id) => {
                let root = &self.inner.config.root;
                self.records(|r| r.write(|tx| restore::save(root, tx, id)))?;
                Ok("written anew")
            }
            Remedy::Config(id) => self.mend_config(id),
            Remedy::Release(holder) => self.release(holder).map(|()| "released"),
            Remedy::File(path) => {
                // Under the lock of the records, which whoever writes a copy has.
                self.records(|r| r.write(|_| remove(path)))?;
                Ok("removed")
            }
            Remedy::Lock(name) => match Lock::try_take(&self.path("locks"), name)? {
                Some(lock) => {
                    lock.remove();
                    Ok("removed")
                }
                None => Err(Error::new(Kind::Unavailable, "somebody has it by now")),
            },
            Remedy::Unheld => self.forget_unheld().map(|()| "forgotten"),
            Remedy::Trash => {
                self.sweep_trash()?;
                self.empty_trash().map(|()| "deleted")
            }
            // Done by now, or by somebody else.
            _ => Ok("swept"),
        }
    }

    fn mend_config(&self, id: &ImageId) -> Result<&'static str> {
        if let Ok(config) = restore::config_of(&self.inner.config.root, id) {
            let update = "UPDATE image SET config=?2 WHERE id=?1";
            let id = id.to_string();
            self.records(|r| r.write(|tx| Ok(tx.execute(update, (&id, &config)).map(drop)?)))?;
            return Ok("taken from its copy");
        }
        let why = (Origin::Person, "its config was damaged (rrun fsck)");
        let layers = self.records(|r| r.give_back(|tx| self.take_out(tx, id, why)))?;
        self.collect(layers)?;
        Ok("forgotten: its config is lost; pull or import it again")
    }

    fn forget_unheld(&self) -> Result<()> {
        let layers = self.records(|r| {
            r.give_back(|tx| {
                let sql = "SELECT l.key FROM image_layer l JOIN image i ON i.id=l.image
                           WHERE i.removed=1 AND i.id NOT IN (SELECT image FROM lease)";
                let keys = rows(tx, sql, [], |row| row.get::<_, String>(0))?;
                records::drop_unheld(tx)?;
                Ok(keys)
            })
        })?;
        self.collect(layers.iter().filter_map(|key| key.parse().ok()).collect())
    }

    /// The images that are shown and have this layer.
    pub(crate) fn images_with(&self, key: &LayerKey) -> Result<Vec<ImageId>> {
        let sql = "SELECT DISTINCT i.id FROM image i JOIN image_layer l ON l.image=i.id
                   WHERE l.key=?1 AND i.removed=0 ORDER BY i.id";
        let ids = self.records(|r| {
            r.read(|tx| Ok(rows(tx, sql, [key.as_str()], |row| row.get::<_, String>(0))?))
        })?;
        ids.iter().map(|id| id.parse()).collect()
    }

    /// Whether a layer is on record; a row that cannot be read is deleted.
    pub(crate) fn has_row(&self, key: &LayerKey) -> Result<bool> {
        self.records(|r| {
            r.write(|tx| match records::layer(tx, key) {
                Ok(found) => Ok(found.is_some()),
                Err(_) => {
                    tx.execute("DELETE FROM layer WHERE key=?1", [key.as_str()])?;
                    Ok(false)
                }
            })
        })
    }

    /// Takes a layer away that no shown image has, or of which there is no folder: what is not on
    /// record is fetched or made again by whoever wants it. Tells whether that was so.
    pub(crate) fn drop_useless(&self, key: &LayerKey) -> Result<bool> {
        let is_useless = !self.layer_dir(key).is_dir() || self.images_with(key)?.is_empty();
        let Some(lock) = Lock::try_take(&self.path("locks"), key.as_str())? else {
            return Err(Error::new(Kind::Unavailable, "somebody works on it"));
        };
        if is_useless {
            let sql = "DELETE FROM layer WHERE key=?1";
            let row = [key.as_str()];
            let delete = |tx: &rusqlite::Transaction<'_>| Ok(tx.execute(sql, row).map(drop)?);
            // On the disk before its folder is away, as when a layer is removed.
            self.records(|r| r.synced(|r| r.give_back(delete)))?;
            self.discard_layer(key, &trash::name(key.as_str()))?;
            self.remove_split(key);
            lock.remove();
        }
        Ok(is_useless)
    }

    /// An image as its config has it: its layers, and what records it.
    pub(crate) fn by_config(&self, id: &ImageId) -> Result<(Vec<LayerKey>, Parts)> {
        let (config, names) = self.records(|r| {
            r.read(|tx| {
                let sql = "SELECT config FROM image WHERE id=?1 AND removed=0";
                let found = rows(tx, sql, [id.to_string()], |row| row.get::<_, Vec<u8>>(0))?;
                let gone = || Error::not_found("it is gone");
                let config = found.into_iter().next().ok_or_else(gone)?;
                Ok((config, image_rows::names(tx, &id.to_string())?))
            })
        })?;
        let keys = LayerKey::of_image(config::parse(&config)?.diff_ids.into_iter());
        Ok((
            keys,
            Parts { id: id.clone(), config, layers: Vec::new(), names, documents: Vec::new() },
        ))
    }

    /// Records these layers for an image though some of them are not here.
    pub(crate) fn set_layers(&self, id: &ImageId, keys: &[LayerKey]) -> Result<()> {
        let id = id.to_string();
        self.records(|r| r.write(|tx| records::set_layers(tx, &id, keys)))
    }
}

fn remove(path: &Path) -> Result<()> {
    match rrun_sys::tree::remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).context(path.display()),
        _ => Ok(()),
    }
}
