//! Pulling: reference → manifest → layers → record.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use futures::stream::{self, StreamExt, TryStreamExt};
use rrun_sys::root::{RootDir, Rule};
use tokio::sync::mpsc;

use crate::config;
use crate::credentials::Credentials;
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::seam::{self, Below};
use crate::layer::{self, Facts, Feed, Job};
use crate::manifest::{self, Descriptor, Document};
use crate::platform::Node;
use crate::progress::{Event, Progress, Reporter};
use crate::reference::Reference;
use crate::registry::{BlobStream, Registry};
use crate::store::records::{self, NameKind, NewImage};
use crate::store::{Image, LayerKey, LayerLock, Store};

/// Layers at a time: enough to keep two cores busy while one waits for the network.
const AT_ONCE: usize = 3;
/// Pieces between the network and the inflater.
const FEED: usize = 16;
/// Indexes in indexes, of which one level is in use.
const DEEPEST: usize = 3;
/// A layer may be removed by another process while its image is not recorded yet.
const COMMITS: usize = 5;

type Flight = Shared<BoxFuture<'static, Result<ImageId>>>;
/// One pull: who asks what with which credentials. Somebody without credentials must not join
/// the pull of somebody who has them.
type FlightKey = (Reference, Option<Credentials>);

/// The pulls that run in this process.
#[derive(Default)]
pub(crate) struct Flights(
    Mutex<HashMap<FlightKey, WeakShared<BoxFuture<'static, Result<ImageId>>>>>,
);

impl Flights {
    /// The running pull of that key, else the one that `start` makes. It runs as long as one
    /// caller waits for it.
    fn join(&self, key: FlightKey, start: impl FnOnce() -> Flight) -> Flight {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, flight| flight.upgrade().is_some());
        if let Some(flight) = all.get(&key).and_then(WeakShared::upgrade)
            && flight.peek().is_none()
        {
            return flight;
        }
        let flight = start();
        if let Some(weak) = flight.downgrade() {
            all.insert(key, weak);
        }
        flight
    }
}

/// An image about to be recorded: everything but its layers is here.
pub(crate) struct Parts {
    pub id: ImageId,
    pub config: Vec<u8>,
    /// Bottom first.
    pub layers: Vec<Layer>,
    pub names: Vec<(String, NameKind)>,
}

/// A layer of an image.
#[derive(Clone)]
pub(crate) struct Layer {
    pub diff_id: Digest,
    pub blob: Descriptor,
}

/// Where blobs come from.
pub(crate) enum Source {
    Registry(Registry),
    Layout(crate::layout::Layout),
}

impl Store {
    /// Pulls what `reference` names and returns the image. The registry is asked each time, which
    /// also proves the credentials; layers that are here are not fetched again. Callers with the
    /// same reference and credentials share one pull, whose events go to the first of them.
    ///
    /// Cancel safe: dropped, it leaves nothing but complete layers, which the next pull finds.
    pub async fn pull(
        &self,
        reference: &Reference,
        auth: Option<&Credentials>,
        progress: Option<Progress>,
    ) -> Result<Image> {
        let key = (reference.clone(), auth.cloned());
        let start = || {
            // The flight must not keep the store alive by being in it: it holds a clone that
            // goes when the last waiter does.
            let (store, reference, auth) = (self.clone(), reference.clone(), auth.cloned());
            let reporter = Reporter(progress);
            async move { store.pull_once(&reference, auth.as_ref(), reporter).await }
                .boxed()
                .shared()
        };
        let flight = self.inner().flights.join(key, start);
        let what = format_args!("pull {reference}").to_string();
        let id = flight.await.context(&what)?;
        let image = self.find(&id.to_string()).context(&what)?;
        image.ok_or_else(|| Error::not_found("removed right after its pull").context(&what))
    }

    async fn pull_once(
        &self,
        reference: &Reference,
        auth: Option<&Credentials>,
        reporter: Reporter,
    ) -> Result<ImageId> {
        let registry = Registry::open(self.certs_dirs(), reference, auth, &self.inner().down)?;
        if self.records(|r| r.read(|tx| records::knows(tx, reference)))?
            && let Some(digest) = registry.current(reference).await?
            && let Some(id) =
                self.records(|r| r.write(|tx| records::renew(tx, reference, &digest)))?
        {
            reporter.tell(|| Event::UpToDate { digest });
            return Ok(id);
        }
        let (digest, bytes) = registry.resolve(reference).await?;
        let source = Source::Registry(registry);
        let mut parts = source.parts(bytes).await?;
        parts.names.push((format!("{}@{digest}", reference.name()), NameKind::Digest));
        parts.names.extend(reference.tagged().map(|tag| (tag, NameKind::Tag)));
        reporter.tell(|| Event::Resolved {
            digest,
            layers: parts.layers.iter().map(|l| (l.blob.digest.clone(), l.blob.size)).collect(),
        });
        self.complete(&source, &parts, &reporter).await
    }

    /// Fetches the layers that are not here and records the image.
    pub(crate) async fn complete(
        &self,
        source: &Source,
        parts: &Parts,
        reporter: &Reporter,
    ) -> Result<ImageId> {
        // Two equal layers are one directory, and overlayfs refuses it twice. The upper one
        // counts: it hides everything that the lower one has.
        let mut keys: Vec<LayerKey> = Vec::new();
        for layer in parts.layers.iter().rev() {
            let key = LayerKey::of(&layer.diff_id);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.reverse();
        for _ in 0..COMMITS {
            let mut wanted: Vec<Layer> = Vec::new();
            for layer in &parts.layers {
                if !wanted.iter().any(|w| w.diff_id == layer.diff_id) {
                    wanted.push(layer.clone());
                }
            }
            stream::iter(wanted)
                .map(|layer| self.layer(source, layer, reporter))
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
            let mut keys = keys.clone();
            keys.extend(self.seam(&keys).await.context("seam")?);
            let new = NewImage {
                id: &parts.id,
                config: &parts.config,
                layers: &keys,
                names: &parts.names,
            };
            if self.commit(&new)?.is_empty() {
                self.sync_behind();
                return Ok(parts.id.clone());
            }
        }
        Err(Error::new(Kind::Internal, "its layers are removed as fast as they come"))
    }

    /// The seam over the layers (bottom first), if they need one.
    async fn seam(&self, keys: &[LayerKey]) -> Result<Option<LayerKey>> {
        let mut below = Vec::new();
        for key in keys.iter().rev() {
            // Gone again already: the commit will tell.
            let facts = self.records(|r| r.read(|tx| records::layer(tx, key)))?;
            let Some(facts) = facts else { return Ok(None) };
            below.push(Below::open(self.layer_dir(key), &facts)?);
        }
        let stitches = seam::plan(&below)?;
        if stitches.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = keys.iter().map(LayerKey::as_str).collect();
        let key = LayerKey::seam(&Digest::of(names.join("\n").as_bytes()));
        let lock = LayerLock::take(&self.path("locks"), &key).await?;
        if self.records(|r| r.read(|tx| records::layer(tx, &key)))?.is_none() {
            let folder = self.path("tmp").join(key.as_str());
            self.place_layer(&folder, &key, || {
                let root = RootDir::open(&folder, Rule::Beneath).context(folder.display())?;
                seam::make(&root, &stitches)
            })?;
        }
        drop(lock);
        Ok(Some(key))
    }

    /// Fetches a layer, from the next host if one sent what the digest does not say.
    async fn layer(&self, source: &Source, layer: Layer, reporter: &Reporter) -> Result<()> {
        loop {
            let trusted = source.trusted();
            match self.fetch_layer(source, &layer, reporter).await {
                Err(e) if e.kind() == Kind::Invalid && (1..trusted).contains(&source.trusted()) => {
                    tracing::warn!(layer = %layer.blob.digest, error = %e, "asking the next host");
                }
                done => return done.context(format_args!("layer {}", layer.blob.digest)),
            }
        }
    }

    async fn fetch_layer(&self, source: &Source, layer: &Layer, reporter: &Reporter) -> Result<()> {
        let key = LayerKey::of(&layer.diff_id);
        let is_here = || self.records(|r| r.read(|tx| Ok(records::layer(tx, &key)?.is_some())));
        let blob = layer.blob.digest.clone();
        if is_here()? {
            reporter.tell(|| Event::Present { layer: blob });
            return Ok(());
        }
        let lock = LayerLock::take(&self.path("locks"), &key).await?;
        if is_here()? {
            reporter.tell(|| Event::Present { layer: blob });
            return Ok(());
        }
        let folder = self.path("tmp").join(key.as_str());
        let job = Job { diff_id: layer.diff_id.clone(), folder };
        let (feed, fed) = mpsc::channel(FEED);
        let store = self.clone();
        let unpacking = tokio::task::spawn_blocking(move || store.unpack(&job, &key, lock, fed));
        let feeding = feed_layer(source, &layer.blob, reporter, feed).await;
        let unpacked = unpacking.await.unwrap_or_else(|e| Err(Error::new(Kind::Internal, e)));
        // A failed feed fails the unpacking too, as Cancelled, and is the reason for it.
        if let (Some(mut rest), Err(e)) = (feeding?, &unpacked)
            && e.kind() == Kind::Invalid
            && source.trusted() > 1
        {
            // A broken layer, or a host that breaks it? The digest tells, at the end.
            while rest.next().await?.is_some() {}
        }
        unpacked?;
        reporter.tell(|| Event::Unpacked { layer: blob });
        Ok(())
    }

    /// Unpacks under the layer's lock, on a blocking thread. Whether it succeeds or not, the
    /// temporary directory is gone when the lock is.
    fn unpack(
        &self,
        job: &Job,
        key: &LayerKey,
        lock: LayerLock,
        fed: mpsc::Receiver<Feed>,
    ) -> Result<()> {
        let done = self.place_layer(&job.folder, key, || layer::run(job, fed));
        drop(lock);
        done
    }

    /// Fills a temporary directory and makes it the layer's, under the layer's lock.
    fn place_layer(
        &self,
        folder: &Path,
        key: &LayerKey,
        fill: impl FnOnce() -> Result<Facts>,
    ) -> Result<()> {
        // A killed process may have left one.
        self.discard(folder)?;
        std::fs::DirBuilder::new().mode(0o755).create(folder).context(folder.display())?;
        let done = fill().and_then(|facts| {
            let place = self.layer_dir(key);
            // A directory without a row is what a kill between these two lines left.
            self.discard(&place)?;
            std::fs::rename(folder, &place).context(place.display())?;
            self.records(|r| r.write(|tx| records::add_layer(tx, key, &facts, &self.inner().boot)))
        });
        if done.is_err() {
            // The first error is the one to tell.
            let _ = self.discard(folder);
        }
        done
    }

    /// Writes everything to the disk without making anybody wait, then marks it as being there.
    fn sync_behind(&self) {
        let store = Arc::downgrade(self.inner());
        let root: PathBuf = self.path("layers");
        let Ok(newest) = self.records(|r| r.read(records::newest_layer)) else { return };
        // Fire and forget: without it the layers are pulled again after a power cut.
        drop(std::thread::Builder::new().name("syncfs".to_owned()).spawn(move || {
            let done = std::fs::File::open(root).map(nix::unistd::syncfs);
            if let (Ok(Ok(())), Some(inner)) = (done, store.upgrade()) {
                let store = Store::from_inner(inner);
                let boot = store.inner().boot.clone();
                let mark =
                    |tx: &rusqlite::Transaction<'_>| records::mark_durable(tx, newest, &boot);
                if let Err(e) = store.records(|r| r.write(mark)) {
                    tracing::warn!(error = %e, "layers not marked durable");
                }
            }
        }));
    }
}

/// Sends the blob's bytes to the unpacker. If that one gives up, its own error tells why, and
/// what is left of the blob is returned.
async fn feed_layer<'a>(
    source: &'a Source,
    blob: &Descriptor,
    reporter: &Reporter,
    feed: mpsc::Sender<Feed>,
) -> Result<Option<BlobStream<'a>>> {
    match source {
        Source::Registry(registry) => {
            let mut stream =
                BlobStream::new(registry, blob.digest.clone(), blob.size, reporter.clone());
            while let Some(piece) = stream.next().await? {
                if feed.send(Feed::Piece(piece)).await.is_err() {
                    return Ok(Some(stream));
                }
            }
        }
        Source::Layout(layout) => {
            let mut stream = layout.stream(&blob.digest, blob.size)?;
            while let Some(piece) = stream.next().await? {
                if feed.send(Feed::Piece(piece)).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }
    let _ = feed.send(Feed::End).await;
    Ok(None)
}

impl Source {
    /// How many hosts may be asked for a layer.
    fn trusted(&self) -> usize {
        match self {
            Source::Registry(registry) => registry.trusted(),
            Source::Layout(_) => 1,
        }
    }

    /// From the top-level document to the parts of the image for this node.
    pub(crate) async fn parts(&self, top: Vec<u8>) -> Result<Parts> {
        self.parts_below(top, false, DEEPEST).await
    }

    /// An index entry that names its machine decides; one that does not leaves it to the config.
    fn parts_below(
        &self,
        bytes: Vec<u8>,
        is_decided: bool,
        levels: usize,
    ) -> BoxFuture<'_, Result<Parts>> {
        let search = async move {
            let entries = match manifest::parse(&bytes).context("manifest")? {
                Document::Manifest { config, layers } => {
                    return self.manifest_parts(config, layers, is_decided).await;
                }
                Document::Index(entries) => entries,
            };
            if levels == 0 {
                return Err(Error::invalid("an index in an index in an index"));
            }
            let mut foreign = None;
            for entry in manifest::choose(&entries, &Node::here())? {
                let is_decided = is_decided || entry.platform.is_some();
                let bytes = self.manifest(entry).await?;
                match self.parts_below(bytes, is_decided, levels - 1).await {
                    Err(e) if e.kind() == Kind::NotFound && !is_decided => foreign = Some(e),
                    done => return done,
                }
            }
            Err(foreign.unwrap_or_else(|| Error::not_found("the index is empty")))
        };
        search.boxed()
    }

    async fn manifest_parts(
        &self,
        descriptor: Descriptor,
        layers: Vec<Descriptor>,
        is_decided: bool,
    ) -> Result<Parts> {
        let bytes = match self {
            Source::Registry(r) => r.small_blob(&descriptor.digest, descriptor.size).await,
            Source::Layout(l) => l.read(&descriptor.digest, Some(descriptor.size)),
        };
        let bytes = bytes.context("config")?;
        let facts = config::parse(&bytes)?;
        let node = Node::here();
        if !is_decided && !node.runs(&facts.platform) {
            let why = format!("the image is for {}, this node is {node}", facts.platform);
            return Err(Error::not_found(why));
        }
        if facts.diff_ids.len() != layers.len() {
            let (ids, blobs) = (facts.diff_ids.len(), layers.len());
            let why = format!("the config has {ids} layers, the manifest {blobs}");
            return Err(Error::invalid(why));
        }
        if let Some(odd) = layers.iter().find(|l| l.media_type.ends_with("+encrypted")) {
            let why = format!("layer {} is encrypted, which is not supported", odd.digest);
            return Err(Error::invalid(why));
        }
        let layers = facts
            .diff_ids
            .into_iter()
            .zip(layers)
            .map(|(diff_id, blob)| Layer { diff_id, blob })
            .collect();
        let id = ImageId::new(descriptor.digest);
        Ok(Parts { id, config: bytes, layers, names: Vec::new() })
    }

    async fn manifest(&self, d: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Source::Registry(registry) => registry.manifest(&d.digest, Some(d.size)).await,
            Source::Layout(layout) => layout.read(&d.digest, Some(d.size)).context("manifest"),
        }
    }
}
