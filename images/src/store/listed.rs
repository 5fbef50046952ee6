//! All images as they were read last, and what they take of the disk: see [`super::kept`].

use std::sync::Arc;

use super::pins::Pin;
use super::resolve::{Lookup, resolve, resolve_in};
use super::{Disk, FsInfo, Image, disk_usage, image_rows};
use crate::digest::ImageId;
use crate::error::Result;

/// All images, as they are when the pins are so.
pub(super) struct Listed {
    pins: Vec<Pin>,
    images: Arc<[Image]>,
    /// All names in order: the place of the image, and that of the name among its tags and digests.
    names: Vec<(usize, usize)>,
}

impl Listed {
    fn new(pins: Vec<Pin>, images: Arc<[Image]>) -> Listed {
        let of = |(at, image): (usize, &Image)| {
            (0..image.tags.len() + image.digests.len()).map(move |name| (at, name))
        };
        let mut names: Vec<_> = images.iter().enumerate().flat_map(of).collect();
        names.sort_unstable_by_key(|place| name_at(&images, *place));
        Listed { pins, images, names }
    }

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

/// The name at this place of [`Listed::names`].
fn name_at(images: &[Image], (at, name): (usize, usize)) -> Option<&str> {
    let image = images.get(at)?;
    image.tags.iter().chain(&image.digests).nth(name).map(String::as_str)
}

impl Lookup for Listed {
    fn by_name(&self, name: &str) -> Result<Option<ImageId>> {
        let found =
            self.names.binary_search_by_key(&Some(name), |place| name_at(&self.images, *place));
        Ok(found.ok().map(|at| self.images[self.names[at].0].id.clone()))
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
        if let Some(known) = self.kept(&self.inner.listed)?.filter(|known| self.has_pins(known)) {
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

    /// The same, if it can be told at once: see [`Disk::kept_now`].
    pub(crate) fn find_now(&self, text: &str) -> Option<Result<Option<Image>>> {
        let known = self.kept_now(&self.inner.listed).filter(|known| self.has_pins(known))?;
        Some(known.find(text))
    }

    /// All images, by id, read again when the records have changed.
    pub(crate) fn list(&self) -> Result<Arc<[Image]>> {
        let read = || {
            let pins = self.inner.config.pinned.borrow().clone();
            let rows = self.records(|r| r.read(|tx| image_rows::images(tx, None)))?;
            let images = rows.into_iter().map(|row| self.image(row));
            Ok(Listed::new(pins, images.collect::<Result<_>>()?))
        };
        let known = self.kept_or_read(&self.inner.listed, |listed| self.has_pins(listed), read)?;
        Ok(Arc::clone(&known.images))
    }

    /// The same, if it can be told at once.
    pub(crate) fn list_now(&self) -> Option<Arc<[Image]>> {
        let known = self.kept_now(&self.inner.listed).filter(|known| self.has_pins(known))?;
        Some(Arc::clone(&known.images))
    }

    fn has_pins(&self, listed: &Listed) -> bool {
        listed.pins == *self.inner.config.pinned.borrow()
    }

    /// What images take of their file system, from the records.
    pub(crate) fn fs_info(&self) -> Result<FsInfo> {
        let read = || self.records(|r| r.read(disk_usage::totals));
        Ok(self.info(*self.kept_or_read(&self.inner.totals, |_| true, read)?))
    }

    /// The same, if it can be told at once.
    pub(crate) fn fs_info_now(&self) -> Option<FsInfo> {
        self.kept_now(&self.inner.totals).map(|known| self.info(*known))
    }

    fn info(&self, (bytes, inodes): (u64, u64)) -> FsInfo {
        FsInfo { mountpoint: self.inner.config.root.clone(), bytes, inodes }
    }
}
