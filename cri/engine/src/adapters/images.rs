//! Images and root file systems from the store.

use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::ports::{ImageInfo, Images, RootfsDirs};
use crate::stats::FsUsage;
use async_trait::async_trait;
use rrun_images::{Holder, HolderKind, Image, Store};
use std::path::PathBuf;
use std::sync::OnceLock;

pub(super) struct StoreImages {
    store: Store,
    /// Where images and layers are: asked for once.
    mountpoint: OnceLock<PathBuf>,
}

impl StoreImages {
    pub(super) fn new(store: Store) -> StoreImages {
        StoreImages { store, mountpoint: OnceLock::new() }
    }
}

fn told(error: rrun_images::Error) -> Error {
    let kind = match error.kind() {
        rrun_images::Kind::NotFound => Kind::NotFound,
        rrun_images::Kind::Exists => Kind::Exists,
        rrun_images::Kind::Invalid => Kind::Invalid,
        rrun_images::Kind::Denied => Kind::Denied,
        rrun_images::Kind::Unavailable | rrun_images::Kind::Cancelled => Kind::Unavailable,
        rrun_images::Kind::Exhausted => Kind::Exhausted,
        rrun_images::Kind::Internal => Kind::Internal,
    };
    Error::from_chain(kind, error.chain())
}

fn info(image: &Image) -> ImageInfo {
    let id = image.id.to_string();
    let reference = image.digests.first().cloned().unwrap_or_else(|| id.clone());
    ImageInfo { reference, config: image.config.clone(), id }
}

#[async_trait]
impl Images for StoreImages {
    async fn find(&self, reference: &str) -> Result<ImageInfo> {
        match self.store.find(reference).await.map_err(told)? {
            Some(image) => Ok(info(&image)),
            None => Err(Error::not_found(format!("image {reference}: not found"))),
        }
    }

    async fn prepare(&self, holder: &str, image_id: &str) -> Result<RootfsDirs> {
        let holder = Holder::container(holder).map_err(told)?;
        let image = self.store.find(image_id).await.map_err(told)?;
        let image =
            image.ok_or_else(|| Error::not_found(format!("image {image_id}: not found")))?;
        let dirs = self.store.prepare(&holder, &image.id).await.map_err(told)?;
        Ok(RootfsDirs { lower: dirs.lower, upper: dirs.upper, work: dirs.work })
    }

    async fn release(&self, holder: &str) -> Result<()> {
        let holder = Holder::container(holder).map_err(told)?;
        self.store.release(&holder).await.map_err(told)
    }

    async fn used(&self, holder: &str) -> Result<()> {
        let holder = Holder::container(holder).map_err(told)?;
        self.store.used(&holder).await.map_err(told)
    }

    async fn holders(&self) -> Result<Vec<String>> {
        let holders = self.store.holders().await.map_err(told)?;
        let containers =
            holders.into_iter().filter(|holder| holder.kind() == HolderKind::Container);
        Ok(containers.map(|holder| holder.name().to_owned()).collect())
    }

    async fn writable_usage(&self, holder: &str) -> Result<FsUsage> {
        let holder = Holder::container(holder).map_err(told)?;
        let usage = self.store.writable_usage(&holder).await.map_err(told)?;
        let mountpoint = match self.mountpoint.get() {
            Some(known) => known.clone(),
            None => self.store.fs_info().await.map_err(told)?.mountpoint,
        };
        self.mountpoint.get_or_init(|| mountpoint.clone());
        Ok(FsUsage { at: clock::now(), mountpoint, bytes: usage.bytes, inodes: usage.inodes })
    }
}
