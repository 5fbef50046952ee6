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
        let what = format!("tag {text} as {name}");
        let Some(tag) = name.tagged() else {
            return Err(Error::invalid("want a name and a tag, no digest").context(what));
        };
        let root = &self.inner.config.root;
        let mut named = None;
        let done = self.records(|r| {
            let done = r.write_synced(|tx| {
                let found = resolve(tx, text)?;
                let id = found.ok_or_else(|| Error::not_found("no such image"))?;
                named = Some(id.clone());
                records::add_name(tx, &tag, NameKind::Tag, &id.to_string())?;
                restore::save(root, tx, &id)?;
                Ok(id)
            });
            if let (Err(_), Some(id)) = (&done, &named) {
                restore::save_anew(root, r, id);
            }
            done
        });
        done.context(what)
    }

    /// See [`crate::Store::untag`].
    pub(crate) fn untag(&self, name: &Reference) -> Result<ImageId> {
        let what = format!("untag {name}");
        let Some(tag) = name.tagged() else {
            return Err(Error::invalid("want a name and a tag, no digest").context(what));
        };
        let root = &self.inner.config.root;
        let mut unnamed = None;
        let done = self.records(|r| {
            let done = r.write_synced(|tx| {
                let found = records::by_name(tx, &tag)?;
                let id = found.ok_or_else(|| Error::not_found("no image has that name"))?;
                unnamed = Some(id.clone());
                records::remove_name(tx, &tag)?;
                restore::save(root, tx, &id)?;
                Ok(id)
            });
            if let (Err(_), Some(id)) = (&done, &unnamed) {
                restore::save_anew(root, r, id);
            }
            done
        });
        done.context(what)
    }
}
