//! [`Images`] over the image store.

use super::block_device;
use crate::disk::{PATIENCE, has_not_answered};
use crate::error::{Error, Result};
use crate::ports::{ImageInfo, Images, RootfsDirs};
use crate::stats::{FileSystem, FsUsage};
use async_trait::async_trait;
use rrun_blocking::Patience;
use rrun_images::{Checkpoint, Holder, HolderKind, Ids, Image, ImageId, Lower, Shift, Store};
use rrun_runtime::plan::{IdMaps, IdRange};
use rrun_sys::time;
use std::path::PathBuf;
use std::sync::OnceLock;

pub(super) struct StoreImages {
    store: Store,
    /// Where images and layers are: asked for once.
    mountpoint: OnceLock<PathBuf>,
    /// With a disk under the store that hangs.
    patience: Patience,
}

impl StoreImages {
    pub(super) fn new(store: Store) -> StoreImages {
        StoreImages { store, mountpoint: OnceLock::new(), patience: Patience::new(PATIENCE) }
    }

    async fn known(&self, reference: &str) -> Result<Image> {
        let image = self.store.find(reference).await?;
        image.ok_or_else(|| Error::not_found(format!("image {reference}: not found")))
    }
}

fn id(text: &str) -> Result<ImageId> {
    text.parse().map_err(|error| Error::internal(format!("image {text}: {error}")))
}

/// The one range of a pod.
fn shift(ranges: &[IdRange]) -> Result<Shift> {
    match ranges {
        [IdRange { inside: 0, outside, count }] => Ok(Shift { first: *outside, count: *count }),
        _ => Err(Error::internal("ids are not one range from 0 on")),
    }
}

fn info(image: &Image) -> ImageInfo {
    let id = image.id.to_string();
    let reference = image.digests.first().cloned().unwrap_or_else(|| id.clone());
    ImageInfo { reference, config: image.config.clone(), id }
}

#[async_trait]
impl Images for StoreImages {
    async fn find(&self, reference: &str) -> Result<ImageInfo> {
        self.known(reference).await.map(|image| info(&image))
    }

    async fn prepare(
        &self,
        holder: &str,
        image_id: &str,
        ids: Option<&IdMaps>,
    ) -> Result<RootfsDirs> {
        let (holder, image) = (Holder::container(holder)?, id(image_id)?);
        let dirs = match ids {
            None => self.store.prepare(&holder, &image).await?,
            Some(ids) => {
                let ids = Ids { users: shift(&ids.users)?, groups: shift(&ids.groups)? };
                self.store.prepare_for(&holder, &image, ids).await?
            }
        };
        let lower = dirs.lower.into_iter().chain(dirs.mount_points).collect();
        Ok(RootfsDirs { lower, upper: dirs.upper, work: dirs.work })
    }

    async fn view(&self, holder: &str, image_id: &str) -> Result<Vec<Lower>> {
        let holder = Holder::container(holder)?;
        Ok(self.store.view(&holder, &id(image_id)?).await?)
    }

    async fn let_go(&self, holder: &str, image_id: &str) -> Result<()> {
        let holder = Holder::container(holder)?;
        Ok(self.store.let_go(&holder, &id(image_id)?).await?)
    }

    async fn checkpoint(&self, image_id: &str) -> Result<Option<Checkpoint>> {
        Ok(self.store.checkpoint(&id(image_id)?).await?)
    }

    async fn release(&self, holder: &str) -> Result<()> {
        let holder = Holder::container(holder)?;
        let (store, patience) = (self.store.clone(), self.patience.clone());
        // A pod that is stopped or removed waits for it in its queue.
        let released = tokio::spawn(async move {
            let released = store.release(&holder).await;
            patience.came_back();
            released
        });
        match self.patience.wait(released).await {
            Some(Ok(released)) => Ok(released?),
            Some(Err(error)) => Err(Error::internal(error.to_string())),
            None => Err(has_not_answered("the disk of the images")),
        }
    }

    async fn used(&self, holder: &str) -> Result<()> {
        let holder = Holder::container(holder)?;
        Ok(self.store.used(&holder).await?)
    }

    async fn holders(&self) -> Result<Vec<String>> {
        let holders = self.store.holders().await?;
        let containers =
            holders.into_iter().filter(|holder| holder.kind() == HolderKind::Container);
        Ok(containers.map(|holder| holder.name().to_owned()).collect())
    }

    async fn writable_usage(&self, holder: &str) -> Result<FsUsage> {
        let holder = Holder::container(holder)?;
        let usage = self.store.writable_usage(&holder).await?;
        let mountpoint = match self.mountpoint.get() {
            Some(known) => known.clone(),
            None => self.store.fs_info().await?.mountpoint,
        };
        self.mountpoint.get_or_init(|| mountpoint.clone());
        let found = self.store.file_system().await?;
        let file_system = FileSystem {
            device: block_device::name_of(found.device),
            bytes: found.bytes,
            inodes: found.inodes,
            inodes_free: found.inodes_free,
        };
        let (bytes, inodes) = (usage.bytes, usage.inodes);
        Ok(FsUsage { at: time::now(), mountpoint, bytes, inodes, file_system: Some(file_system) })
    }
}
