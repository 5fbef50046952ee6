//! Leases: who holds which images, and root file systems made of them.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::SFlag;
use rrun_sys::step::{self, Steps};
use rusqlite::Connection;

use super::{Disk, Holder, HolderKind, LayerKey, Lower, MOST_LAYERS, records, restore};
use crate::digest::ImageId;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Facts, Format};

/// The directories of an overlay mount. Mounting it is the caller's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Lower directories, the top one first; at least one.
    pub lower: Vec<Lower>,
    /// One more, beneath them, with mount points that every container has; none where overlayfs
    /// takes no more.
    pub mount_points: Option<Lower>,
    /// Upper directory.
    pub upper: PathBuf,
    /// Work directory.
    pub work: PathBuf,
}

/// A layer of an image that somebody holds now.
struct Held {
    key: LayerKey,
    is_opaque: bool,
    format: Format,
}

/// Whose the files of a writable layer are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Users.
    pub users: Shift,
    /// Groups.
    pub groups: Shift,
}

/// Ids of a container from 0 on that are others on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// What 0 is.
    pub first: u32,
    /// How many there are. Files of anybody else are root's.
    pub count: u32,
}

/// Who cannot be named: the kernel's overflow id.
const NOBODY: u32 = 65_534;

impl Shift {
    /// Whose a file is, as the container sees it.
    pub(crate) fn inside(self, id: u32) -> u32 {
        id.checked_sub(self.first).filter(|id| *id < self.count).unwrap_or(NOBODY)
    }

    fn of(self, id: u32) -> u32 {
        let inside = Some(id).filter(|id| *id < self.count);
        inside.and_then(|id| self.first.checked_add(id)).unwrap_or(self.first)
    }
}

/// What a writable layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, directories and the like; hard links once.
    pub inodes: u64,
}

impl Disk {
    /// See [`crate::Store::prepare`].
    ///
    /// Steps: `images.prepare.lease`, `images.prepare.writable`, `images.prepare.work`,
    /// `images.prepare.upper`.
    pub(crate) fn prepare(
        &self,
        holder: &Holder,
        image: &ImageId,
        ids: Option<Ids>,
    ) -> Result<Rootfs> {
        self.prepare_steps(holder, image, ids).context(format_args!("prepare {holder}"))
    }

    fn prepare_steps(&self, holder: &Holder, image: &ImageId, ids: Option<Ids>) -> Result<Rootfs> {
        let mut steps = Steps::default();
        let undo = |disk: &Disk| {
            let (disk, holder) = (disk.clone(), holder.clone());
            move || disk.release(&holder)
        };
        let known = self.records(|r| r.read(|tx| records::held(tx, holder)))?;
        let layers = if known.is_empty() {
            steps.run("images.prepare.lease", || self.lease(holder, image, true), undo(self))?
        } else {
            // A repeated call undoes nothing that an earlier one did.
            step::run("images.prepare.lease", || self.lease(holder, image, true))?
        };
        let lower = self.lower(&layers)?;
        let dir = self.path("writable").join(holder.file_name());
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        step::run("images.prepare.writable", || make_writable(&dir, image))?;
        step::run("images.prepare.work", || make(&work, 0o700))?;
        step::run("images.prepare.upper", || make_upper(&upper, &lower, ids))?;
        steps.commit();
        let mount_points = (lower.len() < MOST_LAYERS).then(|| self.mount_points());
        Ok(Rootfs { lower, mount_points, upper, work })
    }

    /// In one transaction, so that nobody removes the image in between.
    fn lease(&self, holder: &Holder, image: &ImageId, rw: bool) -> Result<Vec<Held>> {
        self.records(|r| {
            r.write(|tx| {
                let layers = hold(tx, holder, image, rw)?;
                if !rw && holder.kind() != HolderKind::Container {
                    // The folders of writable layers tell of containers.
                    restore::save(&self.inner.config.root, tx, image)?;
                }
                Ok(layers)
            })
        })
    }

    /// See [`crate::Store::view`].
    pub(crate) fn view(&self, holder: &Holder, image: &ImageId) -> Result<Vec<Lower>> {
        let layers = self.lease(holder, image, false);
        let lower = layers.and_then(|layers| self.lower(&layers));
        let mut lower = lower.context(format_args!("hold for {holder}"))?;
        let empty = self.no_layer();
        // Without an upper directory an overlay has two layers at least.
        if lower.len() == 1 && !lower.contains(&empty) {
            lower.push(empty);
        }
        Ok(lower)
    }

    /// See [`crate::Store::let_go`].
    pub(crate) fn let_go(&self, holder: &Holder, image: &ImageId) -> Result<()> {
        let ended = self.records(|r| {
            r.give_back(|tx| {
                if records::writable(tx, holder)?.as_ref() == Some(image) {
                    let why = format!("he has a writable layer of {image}");
                    return Err(Error::new(Kind::Exists, why));
                }
                let layers = records::image_layers(tx, image)?;
                records::end_lease(tx, holder, image)?;
                if holder.kind() != HolderKind::Container {
                    restore::save(&self.inner.config.root, tx, image)?;
                }
                unnamed(tx, image, layers)
            })
        });
        ended.and_then(|layers| self.collect(layers)).context(format_args!("let go for {holder}"))
    }

    /// See [`crate::Store::used`].
    pub(crate) fn used(&self, holder: &Holder) -> Result<()> {
        self.records(|r| r.write(|tx| records::used(tx, holder)))
    }

    /// From bottom-first records to overlayfs' order. What lies below a layer that hides
    /// everything is left out, because overlayfs does not look at that mark on a root.
    fn lower(&self, layers: &[Held]) -> Result<Vec<Lower>> {
        let mut lower = Vec::with_capacity(layers.len());
        let mut seen = HashSet::new();
        for Held { key, is_opaque, format } in layers.iter().rev() {
            if seen.insert(key) {
                lower.push(self.lower_of(key, *format)?);
            }
            if *is_opaque {
                break;
            }
        }
        if lower.is_empty() {
            lower.push(self.no_layer());
        }
        Ok(lower)
    }

    /// See [`crate::Store::release`].
    ///
    /// Steps: `images.release.writable`, `images.release.lease`, `images.release.collect`.
    pub(crate) fn release(&self, holder: &Holder) -> Result<()> {
        self.release_steps(holder).context(format_args!("release {holder}"))
    }

    fn release_steps(&self, holder: &Holder) -> Result<()> {
        let dir = self.path("writable").join(holder.file_name());
        // The lease ends after its directory is out of the way, so that a killed release is
        // found again by `holders`.
        step::run("images.release.writable", || self.discard(&dir))?;
        let layers = step::run("images.release.lease", || {
            self.records(|r| r.give_back(|tx| self.end_leases(tx, holder)))
        })?;
        if layers.is_empty() {
            return Ok(());
        }
        step::run("images.release.collect", || self.collect(layers))
    }

    /// Takes everything from `holder`; what nobody holds any more is to be collected.
    fn end_leases(&self, tx: &Connection, holder: &Holder) -> Result<Vec<LayerKey>> {
        let mut held = Vec::new();
        for image in records::held(tx, holder)? {
            held.push((records::image_layers(tx, &image)?, image));
        }
        records::end_leases(tx, holder)?;
        let mut gone = Vec::new();
        for (layers, image) in held {
            gone.extend(unnamed(tx, &image, layers)?);
            if holder.kind() != HolderKind::Container {
                restore::save(&self.inner.config.root, tx, &image)?;
            }
        }
        Ok(gone)
    }

    /// Everybody who holds something.
    pub(crate) fn holders(&self) -> Result<Vec<Holder>> {
        self.records(|r| r.read(records::all_holders))
    }

    /// See [`crate::Store::writable_usage`].
    pub(crate) fn writable_usage(&self, holder: &Holder) -> Result<Usage> {
        let upper = self.path("writable").join(holder.file_name()).join("upper");
        let mut usage = Usage::default();
        let mut linked = HashSet::new();
        // A container is at work in it: it may exchange a folder for a link to anywhere.
        rrun_sys::tree::visit(&upper, &mut |stat| {
            let is_folder =
                SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
            if stat.st_nlink > 1 && !is_folder && !linked.insert(stat.st_ino) {
                return;
            }
            usage.inodes += 1;
            usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        })
        .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
        .context(upper.display())?;
        Ok(usage)
    }
}

/// The layers of an image that went with its last lease; nothing to collect if it did not.
fn unnamed(tx: &Connection, image: &ImageId, layers: Vec<LayerKey>) -> Result<Vec<LayerKey>> {
    Ok(if records::image_layers(tx, image)?.is_empty() { layers } else { Vec::new() })
}

/// Records the lease, unless it is there, and tells the image's layers, bottom first, and which
/// of them are opaque.
fn hold(tx: &Connection, holder: &Holder, image: &ImageId, rw: bool) -> Result<Vec<Held>> {
    if let Some(other) = records::writable(tx, holder)?.filter(|other| rw && other != image) {
        return Err(Error::new(Kind::Exists, format!("it holds image {other} already")));
    }
    let is_held = records::held(tx, holder)?.contains(image);
    if !is_held && !records::touch(tx, image)? {
        return Err(Error::not_found(format_args!("no image {image}")));
    }
    records::add_lease(tx, holder, image, rw)?;
    let with_mark = |key: LayerKey| match records::layer(tx, &key)? {
        Some(Facts { is_opaque, format, .. }) => Ok(Held { key, is_opaque, format }),
        None => {
            let why = "was not synced before the last boot ended and is not pulled again yet";
            Err(Error::not_found(format_args!("layer {key} {why}")))
        }
    };
    records::image_layers(tx, image)?.into_iter().map(with_mark).collect()
}

/// The holder's directory and in it the image's id, from which the lease can be recorded anew.
fn make_writable(dir: &Path, image: &ImageId) -> Result<()> {
    // 0710: an unprivileged user of the node must not reach setuid files in there.
    make(dir, 0o710)?;
    let id = dir.join("image");
    match std::os::unix::fs::symlink(image.to_string(), &id) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).context(id.display()),
        _ => Ok(()),
    }
}

/// `upper`, with the holder and mode of the image's root, which it covers. It gets its name last:
/// a killed call must not leave one with attributes that a repeated call would keep.
fn make_upper(upper: &Path, lower: &[Lower], ids: Option<Ids>) -> Result<()> {
    if upper.exists() {
        return Ok(());
    }
    let top = lower.first().ok_or_else(|| Error::new(Kind::Internal, "no lower directory"))?;
    let opened = top.open().map(std::fs::File::from).context(top.display())?;
    let root = opened.metadata().context(top.display())?;
    let new = upper.with_extension("new");
    make(&new, 0o700)?;
    let (uid, gid) = match ids {
        None => (root.uid(), root.gid()),
        Some(ids) => (ids.users.of(root.uid()), ids.groups.of(root.gid())),
    };
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::chown(&new, Some(uid), Some(gid)).context(new.display())?;
    }
    let mode = std::fs::Permissions::from_mode(root.mode() & 0o7777);
    std::fs::set_permissions(&new, mode).context(new.display())?;
    std::fs::rename(&new, upper).context(upper.display())
}

/// Makes the directory unless it is there.
fn make(dir: &Path, mode: u32) -> Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).context(dir.display()),
        _ => Ok(()),
    }
}
