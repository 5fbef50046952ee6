//! The store on disk, and the records of what is in it.
//!
//! ```text
//! records.db           SQLite: layers, images, names, leases
//! records.lock         see `open`
//! records/<id>.json    a plain copy of an image's record, see `restore`
//! layers/<diffID>/     one unpacked layer: as overlayfs takes it, or as `layer::erofs` has it
//! splits/<diffID>      what its archive has beside the data of its files, see `layer::Stored`
//! writable/<holder>/   upper/ and work/ of a lease; image -> the image's id
//! tmp/<diffID>/        a layer being unpacked, under the lock of its name
//! partial/<blob>       what has come of a blob, see `partial`
//! locks/<name>         see `lock`
//! collected/           see `image_gc`
//! trash/               renamed here first, then removed behind, see `trash`
//! empty/               the lower directory of an image without layers
//! mountpoints/         the lowest directory of every container, see `mount_points`
//! ```
//!
//! Compressed blobs are not kept: nothing needs them once a layer is unpacked and verified. A layer
//! that was complete when its pull failed is kept for the next try, and so is what has come of a
//! larger one, as a file that is gone with its layer's last byte: mostly before the kernel has
//! written it to the disk.
//!
//! No file of a layer is synced on its own. A layer becomes visible by a rename and its row, after the
//! last byte is verified. Before an image is recorded one syncfs(2) writes its new layers, and they
//! are marked durable: an image that anybody saw is there after the next boot, however this one ends.
//! Layers that a power cut may have hit (another boot, not marked) belong to pulls that never
//! ended; they are forgotten at the next start. A layer goes in the other order: its row and its
//! images are off the disk before its folder is.
//!
//! The kernel tells once of what it could not write, and takes it for written from then on. So layers
//! that are not marked go when that sync fails; and those that another process left, which may have
//! been on a disk that failed and is mounted again, are hashed by the pull that wants them.

mod as_directory;
mod collect;
mod config;
mod disk_usage;
mod documents;
mod fsck;
mod image_gc;
mod image_rows;
mod journal;
mod kept;
mod key;
mod lease;
mod listed;
mod lock;
mod lower;
mod mount_points;
mod names;
mod open;
mod pins;
pub(crate) mod records;
mod resolve;
mod restore;
mod schema;
mod trash;
mod verify;

use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

pub use config::Config;
pub use disk_usage::{ImageUsage, LayerUsage};
pub use fsck::{Containers, Fault, Finding};
pub(crate) use fsck::{Found, Hash, Look, Remedy, before_opening, look};
pub use image_gc::{Collection, Decision};
use image_rows::ImageRow;
pub use journal::{Entry, Origin};
use kept::Kept;
pub(crate) use key::LayerKey;
pub use key::{Holder, HolderKind};
pub use lease::{Ids, Rootfs, Shift, Usage};
use listed::Listed;
pub(crate) use lock::Lock;
pub(crate) use lower::MOST_LAYERS;
pub use lower::{Layers, Lower};
pub use pins::Pin;
use records::{NameKind, NewImage, Records};
use resolve::{by_digest, resolve};
pub(crate) use verify::Hashing;
pub use verify::{LayerState, Verified};

use rrun_blocking::Blocking;
use rrun_database::WalIndex;
use rrun_sys::step;

use crate::config::{self as image_config, ImageConfig};
use crate::counts::Counters;
use crate::digest::ImageId;
use crate::error::{Context, Error, Kind, Result};

/// Blocking calls of one store at a time.
const AT_ONCE: usize = 16;

/// An image as it is in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of its config.
    pub id: ImageId,
    /// `name:tag`, sorted.
    pub tags: Vec<String>,
    /// `name@digest` of the index or manifest it was pulled by, sorted.
    pub digests: Vec<String>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    /// Entrypoint, environment, user and the rest.
    pub config: ImageConfig,
    /// Who holds it, see [`Holder`].
    pub holders: Vec<Holder>,
    /// When it was last pulled, held, or used by a holder, to the second.
    pub last_used: SystemTime,
    /// When it came here, to the second.
    pub first_detected: SystemTime,
    /// Whether the configuration pins it.
    pub pinned: bool,
}

/// Bytes and inodes of the images' filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsInfo {
    /// An existing directory on it.
    pub mountpoint: PathBuf,
    /// Bytes that images take: layers, those that are being removed included, their splits, and
    /// what earlier pulls have left of layers, as it was when the last one ended.
    pub bytes: u64,
    /// Inodes that images take, likewise.
    pub inodes: u64,
}

/// The file system of the images and of the writable layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// Its device number.
    pub device: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many inodes it has; 0 where it makes them as they are needed.
    pub inodes: u64,
    /// How many of them are free.
    pub inodes_free: u64,
}

/// The store, as this process has it open. Every call blocks, but those that tell what is kept
/// ([`Disk::kept_now`]); async code reaches the others through [`Disk::run`] alone, and other crates
/// through [`crate::Store`], which does that for them.
#[derive(Clone)]
pub(crate) struct Disk {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    /// That of the records, which are open as long as it can be asked.
    index: Option<WalIndex>,
    records: Mutex<Records>,
    pub(crate) boot: String,
    pub(crate) counters: Counters,
    /// Held as long as the records are open, see `open`.
    _lock: File,
    /// For [`Disk::run`].
    threads: Blocking<()>,
    /// Whether a thread of this process empties the trash.
    is_emptying: AtomicBool,
    mounts: lower::Mounts,
    listed: Kept<Listed>,
    /// Bytes and inodes, see [`FsInfo`].
    totals: Kept<(u64, u64)>,
    /// The last row of a layer that was there when this process opened the store.
    before: i64,
}

impl Disk {
    /// Opens the store, makes it if it is not there, and sweeps what killed pulls left.
    ///
    /// Cheap: no layer is looked at. A damaged record file is set aside and what is on disk is
    /// recorded anew.
    pub(crate) fn open(config: Config) -> Result<Disk> {
        let what = format!("image store {}", config.root.display());
        let (mut records, boot, lock) = open::open(&config.root).context(&what)?;
        let before = records.read(verify::last_layer).context(&what)?;
        let index = records.index();
        let (records, is_emptying) = (Mutex::new(records), AtomicBool::new(false));
        let threads = Blocking::new((), AT_ONCE);
        let inner = Inner {
            config,
            index,
            records,
            boot,
            counters: Counters::default(),
            _lock: lock,
            threads,
            is_emptying,
            mounts: lower::Mounts::default(),
            listed: Kept::default(),
            totals: Kept::default(),
            before,
        };
        let disk = Disk { inner: Arc::new(inner) };
        disk.sweep().context(&what)?;
        Ok(disk)
    }

    /// Does blocking work on a thread that may block, so many at a time: a disk that stalls takes
    /// those threads and no others.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let disk = self.clone();
        self.inner.threads.call(move |()| work(&disk)).await
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Disk {
        Disk { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.inner.config.root.join(part)
    }

    pub(crate) fn layer_dir(&self, key: &LayerKey) -> PathBuf {
        self.path("layers").join(key.as_str())
    }

    /// See [`crate::layer::Stored`].
    pub(crate) fn split(&self, key: &LayerKey) -> PathBuf {
        self.path("splits").join(key.as_str())
    }

    /// With its layer, under that one's lock.
    pub(crate) fn remove_split(&self, key: &LayerKey) {
        let path = self.split(key);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let error = rrun_error::reason(&e);
                tracing::warn!(path = %path.display(), error, "left behind");
            }
            _ => {}
        }
    }

    pub(crate) fn records<T>(&self, work: impl FnOnce(&mut Records) -> Result<T>) -> Result<T> {
        work(&mut self.inner.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an image, on the disk when this returns, or tells which of its layers have been
    /// removed meanwhile. Its layers must be durable.
    pub(crate) fn commit(&self, new: &NewImage<'_>) -> Result<Vec<LayerKey>> {
        let record = |tx: &rusqlite::Transaction<'_>| {
            let missing = records::add_image(tx, new)?;
            if missing.is_empty() {
                let save = || restore::save(&self.inner.config.root, tx, new.id);
                step::run("images.pull.copy", save)?;
            }
            Ok(missing)
        };
        let done = step::run("images.pull.commit", || self.records(|r| r.write_synced(record)));
        if done.is_err() {
            let anew = |r: &mut Records| {
                restore::save_anew(&self.inner.config.root, r, new.id);
                Ok(())
            };
            self.records(anew)?;
        }
        done
    }

    /// What [`Disk::make_durable`] syncs by: opened before the first byte of a layer is written.
    pub(crate) fn open_layers(&self) -> Result<File> {
        let root = self.path("layers");
        File::open(&root).context(root.display())
    }

    /// Writes those of the layers to the disk that may not be there yet. The kernel tells each
    /// descriptor once of what it could not write since that was opened, so `layers` is the caller's
    /// own: another pull may have heard it already.
    pub(crate) fn make_durable(&self, keys: &[LayerKey], layers: &File) -> Result<()> {
        let fresh = self.records(|r| r.read(|tx| records::fresh(tx, keys)))?;
        if fresh.is_empty() {
            return Ok(());
        }
        let what = || format!("sync {}", self.path("layers").display());
        if let Err(e) = step::run("images.pull.sync", || nix::unistd::syncfs(layers)) {
            self.records(|r| {
                r.begin_log_anew();
                Ok(())
            })?;
            if let Err(e) = self.forget_unsynced() {
                tracing::warn!(error = %e, "layers that may not be on the disk are not removed");
            }
            return Err(e).context(what());
        }
        step::run("images.pull.durable", || {
            self.records(|r| r.write_synced(|tx| records::mark_durable(tx, &fresh)))
        })
    }

    /// See [`crate::Store::document`].
    pub(crate) fn document(&self, id: &ImageId) -> Result<Vec<u8>> {
        let found = self.records(|r| r.read(|tx| image_rows::config(tx, id)))?;
        found.ok_or_else(|| Error::not_found(format_args!("no image {id}")))
    }

    fn image(&self, row: ImageRow) -> Result<Image> {
        let pinned = self.is_pinned(&row);
        Ok(Image { pinned, ..image(row)? })
    }

    fn is_pinned(&self, row: &ImageRow) -> bool {
        let pins = self.inner.config.pinned.borrow();
        pins.iter().any(|pin| pin.means(&row.id, row.names.iter().map(|(name, _)| name)))
    }

    /// See [`crate::Store::remove`].
    pub(crate) fn remove(&self, text: &str, origin: Origin) -> Result<bool> {
        // How full the disk was tells why somebody may have wanted it.
        let why = match self.room() {
            Ok(room) => format!("it was asked for; {room} were used"),
            Err(e) => format!("it was asked for; {e}"),
        };
        let take_out = |tx: &rusqlite::Transaction<'_>| match resolve(tx, text)? {
            Some(id) => self.take_out(tx, &id, (origin, &why)).map(Some),
            None => Ok(None),
        };
        let found = step::run("images.remove.record", || self.records(|r| r.give_back(take_out)));
        let Some(layers) = found.context(format_args!("remove {text}"))? else {
            return Ok(false);
        };
        self.collect(layers).context(format_args!("remove {text}"))?;
        Ok(true)
    }

    pub(crate) fn file_system(&self) -> Result<FileSystem> {
        let root = &self.inner.config.root;
        let found = statvfs(root).context(format_args!("statvfs {}", root.display()))?;
        let device = std::fs::metadata(root).context(root.display())?.dev();
        Ok(FileSystem {
            device,
            bytes: found.blocks().saturating_mul(found.fragment_size()),
            inodes: found.files(),
            inodes_free: found.files_free(),
        })
    }
}

fn image(row: ImageRow) -> Result<Image> {
    let config = image_config::parse(&row.config)
        .map_err(|e| Error::new(Kind::Internal, e).context(format_args!("image {}", row.id)))?;
    let of = |kind: NameKind| -> Vec<String> {
        row.names.iter().filter(|(_, k)| *k == kind).map(|(name, _)| name.clone()).collect()
    };
    Ok(Image {
        tags: of(NameKind::Tag),
        digests: of(NameKind::Digest),
        id: row.id,
        size: row.size,
        config: config.image,
        holders: row.holders,
        last_used: row.used,
        first_detected: row.detected,
        pinned: false,
    })
}
