//! Names that a person gives to an image.

use rusqlite::{Connection, Transaction};

use super::records::{self, NameKind};
use super::{Disk, resolve, restore};
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Result};
use crate::reference::Reference;

impl Disk {
    /// The whole image that was pulled from there by this digest, if it is here: the reference
    /// names it from now on, and it is used now.
    pub(crate) fn renew(&self, name: &Reference, digest: &Digest) -> Result<Option<ImageId>> {
        let root = &self.inner.config.root;
        let has_tag = |tx: &Connection| match name.tagged() {
            Some(tag) => records::by_name(tx, &tag),
            None => Ok(None),
        };
        let renew = |tx: &Transaction<'_>| {
            let before = has_tag(tx)?;
            let renewed = records::renew(tx, name, digest)?;
            if let Some(id) = &renewed
                && name.tagged().is_some()
                && renewed != before
            {
                restore::save(root, tx, id)?;
            }
            Ok(renewed)
        };
        self.records(|r| {
            let by_digest = format!("{}@{digest}", name.name());
            let is_new = r.read(|tx| Ok(has_tag(tx)? != records::by_name(tx, &by_digest)?))?;
            // A name is on the disk when its pull returns; that it was used need not be.
            if is_new { r.write_synced(renew) } else { r.write(renew) }
        })
    }

    /// See [`crate::Store::tag`].
    pub(crate) fn tag(&self, text: &str, name: &Reference) -> Result<ImageId> {
        let named = |tx: &Connection, _: &str| {
            resolve(tx, text)?.ok_or_else(|| Error::not_found("no such image"))
        };
        let add = |tx: &Connection, tag: &str, id: &ImageId| {
            records::add_name(tx, tag, NameKind::Tag, &id.to_string())
        };
        self.change_name(name, named, add).context(format_args!("tag {text} as {name}"))
    }

    /// See [`crate::Store::untag`].
    pub(crate) fn untag(&self, name: &Reference) -> Result<ImageId> {
        let named = |tx: &Connection, tag: &str| {
            let found = records::by_name(tx, tag)?;
            found.ok_or_else(|| Error::not_found("no image has that name"))
        };
        let remove = |tx: &Connection, tag: &str, _: &ImageId| records::remove_name(tx, tag);
        self.change_name(name, named, remove).context(format_args!("untag {name}"))
    }

    /// Gives or takes a tag of the image that `named` finds, and has it on the disk.
    fn change_name(
        &self,
        name: &Reference,
        named: impl FnOnce(&Connection, &str) -> Result<ImageId>,
        change: impl FnOnce(&Connection, &str, &ImageId) -> Result<()>,
    ) -> Result<ImageId> {
        let Some(tag) = name.tagged() else {
            return Err(Error::invalid("want a name and a tag, no digest"));
        };
        let root = &self.inner.config.root;
        let mut found = None;
        self.records(|r| {
            let done = r.write_synced(|tx| {
                let id = found.insert(named(tx, &tag)?);
                change(tx, &tag, id)?;
                restore::save(root, tx, id)?;
                Ok(id.clone())
            });
            if let (Err(_), Some(id)) = (&done, &found) {
                restore::save_anew(root, r, id);
            }
            done
        })
    }
}
