//! Names that a person gives to an image.

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
        self.records(|r| {
            r.write(|tx| {
                let before = match name.tagged() {
                    Some(tag) => records::by_name(tx, &tag)?,
                    None => None,
                };
                let renewed = records::renew(tx, name, digest)?;
                if renewed.is_some() && name.tagged().is_some() && renewed != before {
                    for changed in before.iter().chain(&renewed) {
                        restore::save(root, tx, changed)?;
                    }
                }
                Ok(renewed)
            })
        })
    }

    /// See [`crate::Store::tag`].
    pub(crate) fn tag(&self, text: &str, name: &Reference) -> Result<ImageId> {
        let what = format!("tag {text} as {name}");
        let Some(tag) = name.tagged() else {
            return Err(Error::invalid("want a name and a tag, no digest").context(what));
        };
        let root = &self.inner.config.root;
        let done = self.records(|r| {
            r.write_synced(|tx| {
                let found = resolve(tx, text)?;
                let id = found.ok_or_else(|| Error::not_found("no such image"))?;
                let before = records::by_name(tx, &tag)?;
                records::add_name(tx, &tag, NameKind::Tag, &id.to_string())?;
                for changed in before.iter().chain([&id]) {
                    restore::save(root, tx, changed)?;
                }
                Ok(id)
            })
        });
        done.context(what)
    }
}
