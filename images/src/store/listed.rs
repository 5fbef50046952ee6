//! All images as they were read, kept as long as nobody has changed anything: what a node's agent asks
//! for again and again is answered from memory.

use std::sync::{Arc, PoisonError};

use super::pins::Pin;
use super::resolve::{Lookup, resolve, resolve_in};
use super::{Disk, Image, image_rows};
use crate::digest::ImageId;
use crate::error::Result;

/// All images, as they are when the records and the pins are so.
pub(super) struct Listed {
    state: (i64, u64),
    pins: Vec<Pin>,
    images: Arc<[Image]>,
}

impl Listed {
    fn find(&self, text: &str) -> Result<Option<Image>> {
        let found = resolve_in(self, text)?;
        Ok(found.and_then(|id| self.at(&id)).map(|at| self.images[at].clone()))
    }

    fn at(&self, id: &ImageId) -> Option<usize> {
        let text = id.to_string();
        let at = self.place(&text);
        self.images.get(at).is_some_and(|image| image.id == *id).then_some(at)
    }

    /// Where those begin whose id is not before this.
    fn place(&self, start: &str) -> usize {
        self.images.partition_point(|image| image.id.to_string().as_str() < start)
    }
}

impl Lookup for Listed {
    fn by_name(&self, name: &str) -> Result<Option<ImageId>> {
        let is_it = |image: &&Image| image.tags.iter().chain(&image.digests).any(|of| of == name);
        Ok(self.images.iter().find(is_it).map(|image| image.id.clone()))
    }

    fn by_digest(&self, digest: &str) -> Result<Option<ImageId>> {
        let is_it = |name: &String| name.rsplit_once('@').is_some_and(|(_, of)| of == digest);
        let mut all = self.images.iter();
        Ok(all.find(|image| image.digests.iter().any(is_it)).map(|image| image.id.clone()))
    }

    fn by_prefix(&self, start: &str) -> Result<Vec<ImageId>> {
        let all = self.images[self.place(start)..].iter().map(|image| &image.id);
        Ok(all.take_while(|id| id.to_string().starts_with(start)).take(2).cloned().collect())
    }
}

impl Disk {
    /// See [`crate::Store::find`].
    pub(crate) fn find(&self, text: &str) -> Result<Option<Image>> {
        // Whoever reads the list anew is not waited for: one image is read faster.
        if let Ok(listed) = self.inner.listed.try_lock()
            && let Some(known) = self.unchanged(listed.as_ref())?
        {
            return known.find(text);
        }
        self.records(|r| {
            r.read(|tx| {
                let Some(id) = resolve(tx, text)? else { return Ok(None) };
                let row = image_rows::images(tx, Some(&id))?.into_iter().next();
                row.map(|row| self.image(row)).transpose()
            })
        })
    }

    /// All images, by id, read again when the records have changed.
    pub(crate) fn list(&self) -> Result<Arc<[Image]>> {
        let mut listed = self.inner.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.unchanged(listed.as_ref())? {
            return Ok(Arc::clone(&known.images));
        }
        let pins = self.inner.config.pinned.borrow().clone();
        // Before the rows: what is changed in between is read once more.
        let state = self.records(|r| r.state())?;
        let rows = self.records(|r| r.read(|tx| image_rows::images(tx, None)))?;
        let images = rows.into_iter().map(|row| self.image(row));
        let images = images.collect::<Result<Arc<[Image]>>>()?;
        *listed = Some(Listed { state, pins, images: Arc::clone(&images) });
        Ok(images)
    }

    /// What is kept, if it is as the records and the pins are.
    fn unchanged<'a>(&self, listed: Option<&'a Listed>) -> Result<Option<&'a Listed>> {
        let Some(known) = listed.filter(|known| known.pins == *self.inner.config.pinned.borrow())
        else {
            return Ok(None);
        };
        let state = self.records(|r| r.state())?;
        Ok(Some(known).filter(|known| known.state == state))
    }
}
