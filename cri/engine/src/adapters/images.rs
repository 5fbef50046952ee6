//! Images and root file systems from the store.

use crate::blocking::Blocking;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::ports::{ImageConfig, ImageInfo, Images, RootfsDirs};
use crate::stats::FsUsage;
use async_trait::async_trait;
use rrun_images::{Credentials, Image, Owner, Reference, Store};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

pub(super) struct StoreImages {
    store: Blocking<Store>,
    /// Where images and layers are: asked for once.
    mountpoint: Arc<OnceLock<PathBuf>>,
}

impl StoreImages {
    pub(super) fn new(store: Blocking<Store>) -> StoreImages {
        StoreImages { store, mountpoint: Arc::default() }
    }
}

/// What is asynchronous in itself.
impl Blocking<Store> {
    /// [`Store::pull`], without a report of its progress.
    ///
    /// # Errors
    /// As there.
    pub async fn pull(
        &self,
        reference: &Reference,
        auth: Option<&Credentials>,
    ) -> rrun_images::Result<Image> {
        self.inner().pull(reference, auth, None).await
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
        let text = reference.to_owned();
        match self.store.call(move |store| store.find(&text).map_err(told)).await? {
            Some(image) => Ok(info(&image)),
            None => Err(Error::not_found(format!("image {reference}: not found"))),
        }
    }

    async fn prepare(&self, owner: &str, image_id: &str) -> Result<RootfsDirs> {
        let id = image_id.to_owned();
        let owner = Owner::new(owner).map_err(told)?;
        let prepare = move |store: &Store| {
            let image = store.find(&id).map_err(told)?;
            let image = image.ok_or_else(|| Error::not_found(format!("image {id}: not found")))?;
            let dirs = store.prepare(&owner, &image.id).map_err(told)?;
            Ok(RootfsDirs { lower: dirs.lower, upper: dirs.upper, work: dirs.work })
        };
        self.store.call(prepare).await
    }

    async fn release(&self, owner: &str) -> Result<()> {
        let owner = Owner::new(owner).map_err(told)?;
        self.store.call(move |store| store.release(&owner).map_err(told)).await
    }

    async fn owners(&self) -> Result<Vec<String>> {
        let owners = self.store.call(|store| store.owners().map_err(told)).await?;
        Ok(owners.into_iter().map(|owner| owner.as_str().to_owned()).collect())
    }

    async fn writable_usage(&self, owner: &str) -> Result<FsUsage> {
        let owner = Owner::new(owner).map_err(told)?;
        let known = Arc::clone(&self.mountpoint);
        let measure = move |store: &Store| {
            let usage = store.writable_usage(&owner).map_err(told)?;
            let mountpoint = match known.get() {
                Some(known) => known.clone(),
                None => store.fs_info().map_err(told)?.mountpoint,
            };
            known.get_or_init(|| mountpoint.clone());
            Ok(FsUsage { at: clock::now(), mountpoint, bytes: usage.bytes, inodes: usage.inodes })
        };
        self.store.call(measure).await
    }
}
