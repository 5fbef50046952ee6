//! Pulling: documents → layers → record.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};
use rrun_blocking::Pool;
use rrun_sys::root::{RootDir, Rule};
use rrun_sys::step;
use rusqlite::Transaction;
use tokio::sync::{RwLock, mpsc};
use tracing::Instrument;

use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::directories::{self, OpenLayers};
use crate::layer::{self, Facts, Feed, Job};
use crate::manifest::{self, Descriptor};
use crate::partial::Partial;
use crate::progress::{Event, Reporter, Wait};
use crate::reference::Reference;
use crate::registry::Registry;
use crate::source::{Layer, Parts, Source, check_layers, feed_layer};
use crate::store::records::{self, NameKind, NewImage};
use crate::store::{Disk, Holder, HolderKind, LayerKey, Lock};
use crate::verifier::Programs;

/// Layers at a time: enough to keep two cores busy while one waits for the network.
const AT_ONCE: usize = 3;
/// Pieces between the network and the inflater.
const FEED: usize = 16;
/// A layer may be removed by another process while its image is not recorded yet.
const COMMITS: usize = 5;
/// Layers that are unpacked at a time. Each waits for its registry, so there are many: a slow one
/// is not to hold up the others.
static UNPACKS: Pool = Pool::new(256);

pub(crate) async fn pull(
    disk: &Disk,
    registry: Registry,
    reference: &Reference,
    reporter: Reporter,
) -> Result<ImageId> {
    let verifiers = disk.inner().config.verifiers.borrow().clone();
    let verifiers = Programs::of(verifiers).await?;
    if let Some((id, digest)) = up_to_date(disk, &registry, reference, &verifiers).await? {
        reporter.tell(|| Event::UpToDate { digest });
        return Ok(id);
    }
    let documents = async {
        let (digest, bytes) = registry.resolve(reference).await?;
        if !verifiers.is_empty() {
            let media_type = manifest::media_type(&bytes).context("manifest")?;
            let image = Descriptor::of(digest.clone()).with(media_type, bytes.len() as u64);
            verifiers.ask(reference, &image).await?;
        }
        let source = Source::Registry(registry);
        let parts = source.parts(bytes).await?;
        Ok::<_, Error>((digest, source, parts))
    };
    let documents =
        documents.instrument(tracing::debug_span!("step", name = "images.pull.resolve"));
    let (digest, source, mut parts) = documents.await?;
    parts.names.push((format!("{}@{digest}", reference.name()), NameKind::Digest));
    parts.names.extend(reference.tagged().map(|tag| (tag, NameKind::Tag)));
    reporter.tell(|| Event::Resolved {
        digest,
        layers: parts.layers.iter().map(|l| (l.blob.digest.clone(), l.blob.size)).collect(),
    });
    complete(disk, &source, Arc::new(parts), &reporter).await
}

/// The image, if it is here as its registry has it now, and its digest there.
async fn up_to_date(
    disk: &Disk,
    registry: &Registry,
    reference: &Reference,
    verifiers: &Programs,
) -> Result<Option<(ImageId, Digest)>> {
    let wanted = reference.clone();
    if !disk.run(move |d| d.records(|r| r.read(|tx| records::knows(tx, &wanted)))).await? {
        return Ok(None);
    }
    let Some(current) = registry.current(reference).await? else { return Ok(None) };
    if !verifiers.is_empty() {
        let name = format!("{}@{}", reference.name(), current.digest);
        let found = move |d: &Disk| d.records(|r| r.read(|tx| records::by_name(tx, &name)));
        // What is to be fetched anyway is looked at when it is known what it is.
        if !current.is_whole() || disk.run(found).await?.is_none() {
            return Ok(None);
        }
        verifiers.ask(reference, &current).await?;
    }
    let (wanted, same) = (reference.clone(), current.digest.clone());
    let renewed = disk.run(move |disk| disk.renew(&wanted, &same)).await?;
    Ok(renewed.map(|id| (id, current.digest)))
}

/// Fetches the layers that are not here and records the image.
pub(crate) async fn complete(
    disk: &Disk,
    source: &Source,
    parts: Arc<Parts>,
    reporter: &Reporter,
) -> Result<ImageId> {
    let keys = LayerKey::of_image(parts.layers.iter().map(|layer| layer.diff_id.clone()));
    // Of equal layers any blob will do.
    let by_key: HashMap<LayerKey, &Layer> =
        parts.layers.iter().map(|layer| (LayerKey::of(&layer.diff_id), layer)).collect();
    let wanted: Vec<Layer> = keys.iter().map(|key| by_key[key].clone()).collect();
    let lease = PullLease::begin(disk, keys.clone()).await?;
    let done = async {
        for _ in 0..COMMITS {
            stream::iter(wanted.clone())
                .map(|layer| {
                    let (name, digest) = ("images.pull.layer", &layer.blob.digest);
                    let step = tracing::debug_span!("step", name, layer = %digest);
                    fetch(&lease, source, layer, reporter).instrument(step)
                })
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
            reporter.tell(|| Event::Recording);
            let step = tracing::debug_span!("step", name = "images.pull.record");
            let (keys, parts, layers) = (keys.clone(), Arc::clone(&parts), lease.layers());
            let id = parts.id.clone();
            if commit(disk, keys, parts, layers).instrument(step).await? {
                return Ok(id);
            }
        }
        Err(Error::new(Kind::Internal, "its layers are removed as fast as they come"))
    };
    let done = done.await;
    let is_full = done.as_ref().is_err_and(|e: &Error| e.kind() == Kind::Exhausted);
    let ended = lease.end(is_full).await;
    let id = done?;
    ended?;
    reporter.recorded();
    Ok(id)
}

/// Records the image once all of its layers are on the disk; `false` if some are gone meanwhile.
pub(crate) async fn commit(
    disk: &Disk,
    mut keys: Vec<LayerKey>,
    parts: Arc<Parts>,
    layers: Arc<File>,
) -> Result<bool> {
    keys.extend(make_directory_layer(disk, &keys).await.context("layer of directories")?);
    check_layers(keys.len()).context("with one of directories")?;
    let work = move |disk: &Disk| {
        disk.make_durable(&keys, &layers)?;
        let new = NewImage {
            id: &parts.id,
            config: &parts.config,
            layers: &keys,
            names: &parts.names,
            documents: &parts.documents,
        };
        Ok(disk.commit(&new)?.is_empty())
    };
    disk.run(work).await
}

/// The layer of directories on top of the layers (bottom first), if they need one.
async fn make_directory_layer(disk: &Disk, keys: &[LayerKey]) -> Result<Option<LayerKey>> {
    let layers = keys.to_vec();
    let planned = disk.run(move |disk| plan_directories(disk, &layers)).await?;
    if planned.is_empty() {
        return Ok(None);
    }
    let key = LayerKey::directories(keys);
    let lock = Lock::take(disk, key.as_str()).await?;
    let made = key.clone();
    let work = move |disk: &Disk| {
        if disk.has_layer(&made)? == Some(true) {
            return Ok(());
        }
        let folder = disk.path("tmp").join(made.as_str());
        let done = place(disk, &folder, &made, || {
            let root = RootDir::open(&folder, Rule::Beneath).context(folder.display())?;
            directories::make(&root, &planned)
        });
        if done.is_err() {
            lock.remove();
        }
        done
    };
    disk.run(work).await?;
    Ok(Some(key))
}

fn plan_directories(disk: &Disk, keys: &[LayerKey]) -> Result<Vec<directories::Directory>> {
    let mut layers = OpenLayers::default();
    for key in keys.iter().rev() {
        // Gone again already: the commit will tell.
        let facts = disk.records(|r| r.read(|tx| records::layer(tx, key)))?;
        let Some(facts) = facts else { return Ok(Vec::new()) };
        layers.add(disk.open_layer(key, facts.format)?, &facts)?;
    }
    layers.plan()
}

/// Fetches a layer, from the next host if one sent what the digest does not say.
async fn fetch(
    lease: &PullLease,
    source: &Source,
    layer: Layer,
    reporter: &Reporter,
) -> Result<()> {
    loop {
        let (trusted, mut resumed) = (source.trusted(), false);
        match fetch_once(lease, source, &layer, reporter, &mut resumed).await {
            // Nor is it known who was wrong: what was kept is removed, and all of it is asked for.
            Err(e) if e.kind() == Kind::Invalid && resumed => {
                tracing::warn!(layer = %layer.blob.digest, error = %e, "fetching it from the start");
            }
            Err(e) if e.kind() == Kind::Invalid && (1..trusted).contains(&source.trusted()) => {
                tracing::warn!(layer = %layer.blob.digest, error = %e, "asking the next host");
            }
            Err(e) if e.kind() == Kind::NotFound && layer.blob.is_foreign() => {
                let why = "foreign: its registry does not have it, and nobody else is asked";
                return Err(e.context(why)).context(format_args!("layer {}", layer.blob.digest));
            }
            done => return done.context(format_args!("layer {}", layer.blob.digest)),
        }
    }
}

async fn fetch_once(
    lease: &PullLease,
    source: &Source,
    layer: &Layer,
    reporter: &Reporter,
    resumed: &mut bool,
) -> Result<()> {
    let (disk, key) = (&lease.disk, LayerKey::of(&layer.diff_id));
    let blob = layer.blob.digest.clone();
    if has_layer(disk, &key).await? == Some(true) {
        reporter.tell(|| Event::Present { layer: blob });
        return Ok(());
    }
    let wait = || reporter.tell(|| Event::Waiting { layer: blob.clone(), on: Wait::Another });
    let mut lock = Lock::take_after(disk, key.as_str(), wait).await?;
    let is_here = match has_layer(disk, &key).await? {
        Some(false) => {
            let key = key.clone();
            disk.run(move |disk| disk.keep_if_whole(&key)).await?
        }
        found => found.is_some(),
    };
    if is_here {
        lock.set_early(false);
        reporter.tell(|| Event::Present { layer: blob });
        return Ok(());
    }
    let mut partial = match source {
        Source::Registry(_) => Partial::open(&disk.path("partial"), &layer.blob).await,
        Source::Layout(_) => Partial::default(),
    };
    *resumed = partial.kept() > 0;
    let done = fetch_into(lease, (source, layer), reporter, (lock, &key), &mut partial).await;
    match &done {
        Err(e) if !matches!(e.kind(), Kind::Invalid | Kind::Exhausted) => partial.leave().await,
        _ => partial.forget().await,
    }
    done?;
    reporter.tell(|| Event::Unpacked { layer: blob });
    Ok(())
}

/// Fetches a layer and unpacks it meanwhile, under its lock.
async fn fetch_into(
    lease: &PullLease,
    (source, layer): (&Source, &Layer),
    reporter: &Reporter,
    (lock, key): (Lock, &LayerKey),
    partial: &mut Partial,
) -> Result<()> {
    let disk = &lease.disk;
    let folder = disk.path("tmp").join(key.as_str());
    let format = disk.run(|disk| Ok(disk.format())).await?;
    let (diff_id, split) = (layer.diff_id.clone(), disk.split(key));
    let most = disk.inner().config.largest(layer.blob.size);
    let job = Job { diff_id, folder, split, format, most };
    let (feed, fed) = mpsc::channel(FEED);
    let (here, key) = (disk.clone(), key.clone());
    let busy = Arc::clone(&lease.busy).read_owned().await;
    let unpacking = UNPACKS.run(move || {
        let _busy = busy;
        unpack(&here, &job, &key, (lock, fed))
    });
    let feeding = async {
        let fed = feed_layer(source, &layer.blob, reporter, feed, partial).await;
        if matches!(fed, Ok(None)) {
            reporter.tell(|| Event::Fetched { layer: layer.blob.digest.clone() });
        }
        fed
    };
    let (feeding, unpacked) = tokio::join!(feeding, unpacking);
    // A failed feed fails the unpacking too, as Cancelled, and is the reason for it.
    if let (Some(mut rest), Err(e)) = (feeding?, &unpacked)
        && e.kind() == Kind::Invalid
        && source.trusted() > 1
    {
        // A broken layer, or a host that breaks it? The digest tells, at the end.
        while rest.next().await?.is_some() {}
    }
    unpacked
}

async fn has_layer(disk: &Disk, key: &LayerKey) -> Result<Option<bool>> {
    let key = key.clone();
    disk.run(move |disk| disk.has_layer(&key)).await
}

/// Unpacks under the layer's lock, on a blocking thread. Whether it succeeds or not, the
/// temporary directory is out of the way when the lock is.
fn unpack(
    disk: &Disk,
    job: &Job,
    key: &LayerKey,
    (mut lock, fed): (Lock, mpsc::Receiver<Feed>),
) -> Result<()> {
    lock.set_early(false);
    let done = place(disk, &job.folder, key, || layer::run(job, fed));
    if done.is_err() {
        disk.remove_split(key);
        // There is no layer that it would be the lock of.
        lock.remove();
    }
    done
}

/// Fills a temporary directory and makes it the layer's, under the layer's lock.
fn place(
    disk: &Disk,
    folder: &Path,
    key: &LayerKey,
    fill: impl FnOnce() -> Result<Facts>,
) -> Result<()> {
    // A killed process may have left one.
    disk.discard(folder)?;
    std::fs::DirBuilder::new().mode(0o755).create(folder).context(folder.display())?;
    let there = disk.layer_dir(key);
    let done = step::run("images.pull.unpack", fill).and_then(|facts| {
        step::run("images.pull.place", || {
            // A directory without a row is what a kill after this step left.
            disk.discard(&there)?;
            std::fs::rename(folder, &there).context(there.display())
        })?;
        step::run("images.pull.row", || {
            disk.records(|r| r.write(|tx| records::add_layer(tx, key, &facts, &disk.inner().boot)))
        })
    });
    if done.is_err() {
        // The first error is the one to tell. Where there is no record, there is no layer.
        let _ = disk.discard(folder);
        let _ = disk.discard(&there);
    }
    done
}

/// What a running pull holds: its layers, from before the first of them is here until its image
/// has them. The lock tells whoever collects that the pull lives; death releases it.
struct PullLease {
    disk: Disk,
    holder: Holder,
    lock: Lock,
    /// See [`Disk::make_durable`].
    layers: Arc<File>,
    /// Held by each thread that unpacks: one goes on for a moment when nobody waits for it any more.
    busy: Arc<RwLock<()>>,
}

impl PullLease {
    async fn begin(disk: &Disk, keys: Vec<LayerKey>) -> Result<PullLease> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let holder = Holder::new(HolderKind::Pull, format!("{}-{n}", std::process::id()))?;
        let lock = Lock::take(disk, &holder.file_name()).await?;
        let recorded = holder.clone();
        let hold = move |disk: &Disk| {
            let hold = |tx: &Transaction<'_>| {
                // A dead process may have had this number.
                records::end_leases(tx, &recorded)?;
                keys.iter().try_for_each(|key| records::hold_layer(tx, &recorded, key))
            };
            let held = step::run("images.pull.lease", || disk.records(|r| r.write(hold)));
            match held.and_then(|()| disk.open_layers()) {
                Ok(layers) => Ok((lock, Arc::new(layers))),
                Err(e) => {
                    lock.remove();
                    Err(e)
                }
            }
        };
        let (lock, layers) = disk.run(hold).await?;
        let busy = Arc::default();
        Ok(PullLease { disk: disk.clone(), holder, lock, layers, busy })
    }

    fn layers(&self) -> Arc<File> {
        Arc::clone(&self.layers)
    }

    /// Where the disk is full, what was unpacked in vain is removed at once; else it stays for the
    /// next try.
    async fn end(self, is_full: bool) -> Result<()> {
        let PullLease { disk, holder, lock, busy, .. } = self;
        drop(busy.write().await);
        let end = move |disk: &Disk| {
            // Its room is back before anything is recorded.
            let emptied = if is_full { disk.empty_trash() } else { Ok(()) };
            step::run("images.pull.release", || {
                disk.records(|r| r.give_back(|tx| records::end_leases(tx, &holder)))
            })?;
            step::run("images.pull.unlock", || {
                lock.remove();
                Ok::<_, Error>(())
            })?;
            emptied?;
            if is_full { disk.collect_orphans() } else { disk.count_partials() }
        };
        disk.run(end).await
    }
}
