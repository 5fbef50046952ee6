//! Images and root file systems from the store.

use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::ports::{ImageConfig, ImageInfo, Images, RootfsDirs};
use crate::stats::FsUsage;
use crate::table::blocking;
use async_trait::async_trait;
use rrun_images::{Image, Owner, Store};

pub(super) struct StoreImages {
    store: Store,
}

impl StoreImages {
    pub(super) fn new(store: Store) -> StoreImages {
        StoreImages { store }
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
    let config = &image.config;
    let config = ImageConfig {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        user: config.user.clone(),
        working_dir: config.working_dir.clone(),
        stop_signal: config.stop_signal.clone(),
        volumes: config.volumes.clone(),
    };
    let reference = image.digests.first().cloned().unwrap_or_else(|| id.clone());
    ImageInfo { reference, config, id }
}

#[async_trait]
impl Images for StoreImages {
    async fn find(&self, reference: &str) -> Result<ImageInfo> {
        let (store, text) = (self.store.clone(), reference.to_owned());
        let found = blocking(move || store.find(&text).map_err(told)).await?;
        match found {
            Some(image) => Ok(info(&image)),
            None => Err(Error::not_found(format!("image {reference}: not found"))),
        }
    }

    async fn prepare(&self, owner: &str, image_id: &str) -> Result<RootfsDirs> {
        let (store, id) = (self.store.clone(), image_id.to_owned());
        let owner = Owner::new(owner).map_err(told)?;
        blocking(move || {
            let image = store.find(&id).map_err(told)?;
            let image = image.ok_or_else(|| Error::not_found(format!("image {id}: not found")))?;
            let dirs = store.prepare(&owner, &image.id).map_err(told)?;
            Ok(RootfsDirs { lower: dirs.lower, upper: dirs.upper, work: dirs.work })
        })
        .await
    }

    async fn release(&self, owner: &str) -> Result<()> {
        let store = self.store.clone();
        let owner = Owner::new(owner).map_err(told)?;
        blocking(move || store.release(&owner).map_err(told)).await
    }

    async fn owners(&self) -> Result<Vec<String>> {
        let store = self.store.clone();
        let owners = blocking(move || store.owners().map_err(told)).await?;
        Ok(owners.into_iter().map(|owner| owner.as_str().to_owned()).collect())
    }

    async fn writable_usage(&self, owner: &str) -> Result<FsUsage> {
        let store = self.store.clone();
        let owner = Owner::new(owner).map_err(told)?;
        blocking(move || {
            let usage = store.writable_usage(&owner).map_err(told)?;
            let mountpoint = store.fs_info().map_err(told)?.mountpoint;
            Ok(FsUsage { at: clock::now(), mountpoint, bytes: usage.bytes, inodes: usage.inodes })
        })
        .await
    }
}
