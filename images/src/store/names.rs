//! Names that a person gives to an image.

use super::records::{self, NameKind};
use super::{Disk, resolve, restore};
use crate::digest::ImageId;
use crate::error::{Context, Error, Result};
use crate::reference::Reference;

impl Disk {
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
