//! The store as other crates have it: every call is async, and blocks no thread of theirs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rrun_blocking::Blocking;
use tracing::Instrument;

use crate::checkpoint::Checkpoint;
use crate::counts::Counts;
use crate::credentials::{Credentials, Known};
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Kind, Result};
use crate::export::{self, ExportTo, Exported};
use crate::flights::Flights;
use crate::gc::Policy;
use crate::import::{self, Imported};
use crate::progress::{Progress, Watched};
use crate::reference::Reference;
use crate::registry::Registries;
use crate::store::{
    Collection, Config, Disk, Entry, FileSystem, FsInfo, Holder, Ids, Image, ImageUsage, Lower,
    Origin, Rootfs, Usage, Verified,
};

/// How often a process that has the store open looks for what nobody has any more.
const COLLECT_EVERY: Duration = Duration::from_secs(600);

/// A handle on the store; clones are the same store. Several processes may have one open.
///
/// Disk and records are worked on by tokio's threads for blocking work: a call is slow when the
/// disk is, and no other task waits for it. What has been read last is told again without them as long
/// as nobody has changed it (images, and what they take). A call that was dropped ends by itself.
#[derive(Clone)]
pub struct Store {
    disk: Disk,
    flights: Arc<Flights>,
    registries: Arc<Registries>,
}

impl Store {
    /// Opens the store, makes it if it is not there, and sweeps what killed pulls left; from then
    /// on it collects what nobody has, as long as a clone of it lives.
    ///
    /// Cheap: no layer is looked at. A damaged record file is set aside, if nobody else has it
    /// open, and what is on disk is recorded anew.
    ///
    /// # Errors
    /// `Unavailable` when the records cannot be read now, or are of another version, or are
    /// damaged and open elsewhere; else of the disk.
    pub async fn open(config: Config) -> Result<Store> {
        let disk = Blocking::new((), 1).call(move |()| Disk::open(config)).await?;
        let inner = Arc::downgrade(disk.inner());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(COLLECT_EVERY).await;
                let Some(inner) = inner.upgrade() else { return };
                let done = Disk::from_inner(inner).run(|disk| disk.collect(Vec::new())).await;
                if let Err(e) = done {
                    tracing::warn!(error = %e, "images that nobody has are not collected");
                }
            }
        });
        let registries = Arc::new(Registries::new(disk.inner().config.downloads_per_registry));
        Ok(Store { disk, flights: Arc::default(), registries })
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Pulls what `reference` names and returns the image. The registry is asked each time, which
    /// also proves the credentials: by one HEAD if the image is here. Layers that are here are not
    /// fetched again. Callers with the same reference and credentials share one pull, whose events
    /// go to the first of them. When this returns, the image is on the disk and outlives a power
    /// cut.
    ///
    /// Cancel safe: dropped, it leaves nothing but complete layers, which the next pull finds.
    pub async fn pull(
        &self,
        reference: &Reference,
        auth: Option<&Credentials>,
        progress: Option<Progress>,
    ) -> Result<Image> {
        let (known, what) = (Arc::clone(&self.registries), format!("pull {reference}"));
        let done = self.flights.pull(&self.disk, known, (reference, auth), progress).await;
        let id = done.context(&what)?;
        let image = self.find(&id.to_string()).await.context(&what)?;
        image.ok_or_else(|| Error::not_found("removed right after its pull").context(&what))
    }

    /// What this process has done with images so far.
    pub fn counts(&self) -> Counts {
        self.disk.inner().counters.read()
    }

    /// The pulls of this process that run now.
    pub fn pulling(&self) -> Vec<Watched> {
        self.flights.watched()
    }

    /// Imports the images that this node can run from an OCI layout or an archive of `docker save`:
    /// a directory, or a tar file of one, as it is or compressed by gzip or zstd, which may be a
    /// pipe. They are named as `name` says, which needs a single image, or else as they are called
    /// there; an image without a name is found by its id. As durable as a pull.
    pub async fn import_layout(
        &self,
        path: &Path,
        name: Option<&Reference>,
    ) -> Result<Vec<Imported>> {
        let done = import::import(&self.disk, path, name).await;
        done.context(format_args!("import {}", path.display()))
    }

    /// The image that `text` names: an id (`sha256:…`, bare, or the start of one, if only one
    /// image has it), `name:tag`, `name@digest`, or a name, which means its `latest`.
    pub async fn find(&self, text: &str) -> Result<Option<Image>> {
        if let Some(found) = self.disk.find_now(text) {
            return found;
        }
        let text = text.to_owned();
        self.disk.run(move |disk| disk.find(&text)).await
    }

    /// All images, by id.
    pub async fn list(&self) -> Result<Arc<[Image]>> {
        if let Some(images) = self.disk.list_now() {
            return Ok(images);
        }
        self.disk.run(Disk::list).await
    }

    /// The whole config of an image: JSON, as it was pulled.
    ///
    /// # Errors
    /// `NotFound` if there is no such image.
    pub async fn document(&self, id: &ImageId) -> Result<Vec<u8>> {
        let id = id.clone();
        self.disk.run(move |disk| disk.document(&id)).await
    }

    /// The checkpoint of a container that an image is, by the annotations of its manifest or index;
    /// `None` for any other image.
    ///
    /// # Errors
    /// `Invalid` for one that is annotated so and cannot be one.
    pub async fn checkpoint(&self, id: &ImageId) -> Result<Option<Checkpoint>> {
        let id = id.clone();
        self.disk.run(move |disk| Checkpoint::of_image(disk, &id)).await
    }

    /// Gives the image that `text` names another name, which an image that had it loses.
    ///
    /// # Errors
    /// `NotFound` if there is no such image, `Invalid` if `name` has a digest.
    pub async fn tag(&self, text: &str, name: &Reference) -> Result<ImageId> {
        let (text, name) = (text.to_owned(), name.clone());
        self.disk.run(move |disk| disk.tag(&text, &name)).await
    }

    /// Takes a tag from the image that has it. The image stays, by its digests and its id, even if
    /// that was its last name.
    ///
    /// # Errors
    /// `NotFound` if no image has it, `Invalid` if `name` has a digest.
    pub async fn untag(&self, name: &Reference) -> Result<ImageId> {
        let name = name.clone();
        self.disk.run(move |disk| disk.untag(&name)).await
    }

    /// Removes the image under all its names; `false` if there is none. Layers that nobody else
    /// has go as well, those of an image that is held when the last holder releases it. Their
    /// files are out of the way at once and deleted behind; see [`Store::empty_trash`].
    ///
    /// The journal tells later that `origin` wanted it.
    pub async fn remove(&self, text: &str, origin: Origin) -> Result<bool> {
        let span = tracing::info_span!("verb", name = "RemoveImage", image = %text);
        let text = text.to_owned();
        self.disk.run(move |disk| disk.remove(&text, origin)).instrument(span).await
    }

    /// Waits until what was removed is deleted. For a program that ends after it: what it leaves
    /// is deleted by the next one that opens the store.
    pub async fn empty_trash(&self) -> Result<()> {
        self.disk.run(Disk::empty_trash).await
    }

    /// Removes what nobody has: layers of failed pulls after an hour, leases of dead pulls. Every
    /// open store does that by itself from time to time.
    pub async fn collect(&self) -> Result<()> {
        self.disk.run(|disk| disk.collect(Vec::new())).await
    }

    /// What a collection of images would do now, see [`crate::gc`]. Images that one of `spared`
    /// names stay, beside those that are pinned or that somebody has.
    pub async fn plan_collection(
        &self,
        policy: Policy,
        spared: BTreeSet<String>,
    ) -> Result<Collection> {
        self.disk.run(move |disk| disk.plan_collection(&policy, &spared)).await
    }

    /// Collects images and records every decision, see [`Store::plan_collection`]; `None` while
    /// another process does.
    pub async fn collect_images(
        &self,
        policy: Policy,
        spared: BTreeSet<String>,
    ) -> Result<Option<Collection>> {
        self.disk.run(move |disk| disk.collect_images(&policy, &spared)).await
    }

    /// The same, if nobody did within the last [`crate::gc::PERIOD`]; and after how long to ask again.
    /// That period begins when a store is new, too.
    pub async fn collect_images_when_due(
        &self,
        policy: Policy,
        spared: BTreeSet<String>,
    ) -> Result<(Option<Collection>, Duration)> {
        self.disk.run(move |disk| disk.collect_images_when_due(&policy, &spared)).await
    }

    /// Removes the images that nobody has, of those with a tag only if `all` are asked for. What
    /// is pinned or named by `spared` stays.
    pub async fn prune(&self, all: bool, spared: BTreeSet<String>) -> Result<Collection> {
        self.disk.run(move |disk| disk.prune(all, &spared)).await
    }

    /// Hashes all that an image is made of again, and tells of each of its layers whether it is
    /// whole, the bottom one first.
    ///
    /// # Errors
    /// `NotFound` if there is no such image, `Invalid` if its config is damaged.
    pub async fn verify(&self, image: &str) -> Result<Vec<Verified>> {
        let image = image.to_owned();
        self.disk.run(move |disk| disk.verify(&image)).await
    }

    /// Fetches these layers of an image anew, and those that it lacks, from where it was pulled, with
    /// each of the credentials that are known there. What cannot be fetched stays as it was.
    ///
    /// # Errors
    /// `Exists` while a container has one of them, `Invalid` for an image that was imported; else
    /// as [`Store::pull`].
    pub async fn repair(&self, image: &str, layers: &[Digest], known: &Known) -> Result<()> {
        let what = format!("repair {image}");
        let asked = image.to_owned();
        let name = self.disk.run(move |disk| disk.pulled_by(&asked)).await.context(&what)?;
        let name = name.ok_or_else(|| {
            let why = "it was not pulled from a registry: remove it and import it again";
            Error::invalid(why).context(&what)
        })?;
        let reference: Reference = name.parse()?;
        let mut failed: Vec<Error> = Vec::new();
        for auth in known(reference.clone()).await {
            match self.repair_as(&reference, layers, auth.as_ref()).await {
                Ok(()) => return Ok(()),
                Err(e) => failed.push(e),
            }
        }
        let words: BTreeSet<String> = failed.iter().map(Error::to_string).collect();
        let kind = failed.last().map_or(Kind::Denied, Error::kind);
        Err(Error::new(kind, Vec::from_iter(words).join("; ")).context(what))
    }

    async fn repair_as(
        &self,
        reference: &Reference,
        layers: &[Digest],
        auth: Option<&Credentials>,
    ) -> Result<()> {
        let mut aside = Vec::new();
        let mut done = Ok(());
        for layer in layers {
            let layer = layer.clone();
            match self.disk.run(move |disk| disk.set_aside(&layer)).await {
                Ok(one) => aside.push(one),
                Err(e) => {
                    done = Err(e);
                    break;
                }
            }
        }
        if done.is_ok() {
            done = self.pull(reference, auth, None).await.map(drop);
        }
        let is_done = done.is_ok();
        let end = move |disk: &Disk| {
            aside.into_iter().try_for_each(|one| match is_done {
                true => disk.forget_aside(one),
                false => disk.put_back(one),
            })
        };
        let ended = self.disk.run(end).await;
        done.and(ended)
    }

    /// Writes images to a new folder or a file, which may be a pipe, as an OCI image layout that is
    /// an archive of `docker save` as well: a tar unless it is a folder. They have their ids and
    /// names; their layers are not compressed, so that an image whose layers were has another manifest
    /// than it was pulled by.
    ///
    /// # Errors
    /// `NotFound` for an image that is not there, `Invalid` for one with a damaged layer, or with
    /// one whose archive cannot be made again.
    pub async fn export(&self, images: &[String], to: ExportTo) -> Result<Vec<Exported>> {
        let images = images.to_vec();
        self.disk.run(move |disk| export::export(disk, &images, to)).await.context("export")
    }

    /// What was decided about images, the newest first: about all, or about those that `image`
    /// means or meant, by an id, the start of one, or a name.
    pub async fn journal(&self, image: Option<&str>) -> Result<Vec<Entry>> {
        let image = image.map(str::to_owned);
        self.disk.run(move |disk| disk.journal(image.as_deref())).await
    }

    /// Holds `image` for `holder` beside whatever it holds already. Idempotent.
    ///
    /// # Errors
    /// `NotFound` if there is no such image.
    pub async fn hold(&self, holder: &Holder, image: &ImageId) -> Result<()> {
        self.view(holder, image).await.map(drop)
    }

    /// Holds `image` for `holder` and tells its directories for a read-only mount, the top one
    /// first: one alone, which is empty, for an image without layers, else at least two. Idempotent.
    ///
    /// # Errors
    /// As [`Store::hold`].
    pub async fn view(&self, holder: &Holder, image: &ImageId) -> Result<Vec<Lower>> {
        let (holder, image) = (holder.clone(), image.clone());
        self.disk.run(move |disk| disk.view(&holder, &image)).await
    }

    /// Holds `image` for `holder` and makes its writable layer, of which a holder has one.
    /// Idempotent.
    ///
    /// # Errors
    /// `Exists` if his writable layer is of another image, `NotFound` if there is no such image.
    pub async fn prepare(&self, holder: &Holder, image: &ImageId) -> Result<Rootfs> {
        let (holder, image) = (holder.clone(), image.clone());
        self.disk.run(move |disk| disk.prepare(&holder, &image, None)).await
    }

    /// As [`Store::prepare`], for a container whose ids are others on the disk: the writable layer is
    /// theirs. The layers of the image are as they are, to be mounted with their ids mapped.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub async fn prepare_for(&self, holder: &Holder, image: &ImageId, ids: Ids) -> Result<Rootfs> {
        let (holder, image) = (holder.clone(), image.clone());
        self.disk.run(move |disk| disk.prepare(&holder, &image, Some(ids))).await
    }

    /// The lower directories of a container whose image has no layers: for whoever wants to try what
    /// can be mounted here.
    pub fn bare(&self) -> Vec<Lower> {
        self.disk.bare()
    }

    /// Ends one lease of `holder` that has no writable layer. Idempotent.
    ///
    /// # Errors
    /// `Exists` if his writable layer is of this image: that goes by [`Store::release`].
    pub async fn let_go(&self, holder: &Holder, image: &ImageId) -> Result<()> {
        let (holder, image) = (holder.clone(), image.clone());
        self.disk.run(move |disk| disk.let_go(&holder, &image)).await
    }

    /// Ends every lease of `holder` and removes its writable layer, which must not be mounted any
    /// more. Idempotent; a holder without a lease is no error.
    pub async fn release(&self, holder: &Holder) -> Result<()> {
        let holder = holder.clone();
        self.disk.run(move |disk| disk.release(&holder)).await
    }

    /// Marks what `holder` holds as used now: the container starts, or something is executed in it.
    pub async fn used(&self, holder: &Holder) -> Result<()> {
        let holder = holder.clone();
        self.disk.run(move |disk| disk.used(&holder)).await
    }

    /// Everybody who holds something, for whoever knows which of them are gone.
    pub async fn holders(&self) -> Result<Vec<Holder>> {
        self.disk.run(Disk::holders).await
    }

    /// What the writable layer of `holder` takes, by a walk through it.
    pub async fn writable_usage(&self, holder: &Holder) -> Result<Usage> {
        let holder = holder.clone();
        self.disk.run(move |disk| disk.writable_usage(&holder)).await
    }

    /// What each image takes of the disk, by id, from the records.
    pub async fn disk_usage(&self) -> Result<Vec<ImageUsage>> {
        self.disk.run(Disk::disk_usage).await
    }

    /// What images take of their filesystem, from the records.
    pub async fn fs_info(&self) -> Result<FsInfo> {
        if let Some(info) = self.disk.fs_info_now() {
            return Ok(info);
        }
        self.disk.run(Disk::fs_info).await
    }

    /// How large the file system of the images is.
    pub async fn file_system(&self) -> Result<FileSystem> {
        self.disk.run(Disk::file_system).await
    }
}
