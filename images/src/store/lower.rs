//! Layers as overlayfs takes them, whatever their format.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use rrun_sys::root::{RootDir, Rule};
use serde::{Deserialize, Serialize};

use super::mount_points::FOLDER;
use super::{Disk, LayerKey};
use crate::error::{Context, Result};
use crate::layer::{Format, Stored, erofs};

/// overlayfs takes so many lower directories.
pub(crate) const MOST_LAYERS: usize = 500;

/// What layers become when they are unpacked. A store may have layers of every kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layers {
    /// EROFS images where the host can mount them, else directories.
    #[default]
    Auto,
    /// Directories with their files.
    Directory,
    /// As with `Auto`; where the host cannot mount them, a warning says so.
    Erofs,
}

/// A lower directory of an overlay: a path, which is good as long as this lives.
#[derive(Clone)]
pub struct Lower {
    /// Of the layer, in whatever format.
    folder: PathBuf,
    path: PathBuf,
    /// Of a layer that is an image.
    mount: Option<Arc<OwnedFd>>,
}

/// A directory as it stands.
impl From<PathBuf> for Lower {
    fn from(folder: PathBuf) -> Lower {
        Lower { path: folder.clone(), folder, mount: None }
    }
}

impl Deref for Lower {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Lower {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for Lower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(f)
    }
}

/// The same layer, by whichever path.
impl PartialEq for Lower {
    fn eq(&self, other: &Lower) -> bool {
        self.folder == other.folder
    }
}

impl Eq for Lower {}

impl PartialOrd for Lower {
    fn partial_cmp(&self, other: &Lower) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Lower {
    fn cmp(&self, other: &Lower) -> std::cmp::Ordering {
        self.folder.cmp(&other.folder)
    }
}

impl Lower {
    /// Opens it for overlayfs; nothing that is mounted over the host's paths is in the way of an image.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = match &self.mount {
            Some(mount) => nix::fcntl::openat(mount.as_fd(), c".", flags, Mode::empty()),
            None => nix::fcntl::open(&self.path, flags, Mode::empty()),
        };
        opened.map_err(io::Error::from)
    }

    /// With what options an overlay of these is mounted.
    ///
    /// Each image is a file system of its own. Where an overlay has layers of several, its files are of
    /// other devices than its folders, so that `du -x` counts none of them, and folders have other
    /// numbers each time. With `xino` all is as over directories of one disk.
    pub fn options(lower: &[Lower]) -> &'static [(&'static CStr, Option<&'static CStr>)] {
        match lower.iter().any(|layer| layer.mount.is_some()) {
            true => &[(c"xino", Some(c"on"))],
            false => &[],
        }
    }
}

/// The images that this process has mounted for containers, each once, so that all containers of a
/// layer have its pages in common. One is held until its layer is removed. And what new layers become,
/// when it is known.
#[derive(Default)]
pub(super) struct Mounts {
    held: Mutex<HashMap<LayerKey, Mounted>>,
    /// Those of layers that are removed. Whoever closes the last descriptor of one waits until the
    /// kernel has freed what it has of it in memory: that is the thread that empties the trash.
    let_go: Mutex<Vec<Arc<OwnedFd>>>,
    /// Why this host cannot mount images, if it cannot, once that was tried.
    refused: OnceLock<Option<String>>,
}

struct Mounted {
    mount: Arc<OwnedFd>,
    /// Device and number of the index: the layer may have been fetched anew meanwhile.
    of: (u64, u64),
}

/// See [`Mounted::of`]; none of what is gone.
fn index_of(folder: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(erofs::index_in(folder)).ok()?;
    Some((found.dev(), found.ino()))
}

impl Disk {
    /// What a layer becomes that is unpacked now.
    pub(crate) fn format(&self) -> Format {
        let can = || match self.mount_refusal() {
            Ok(refused) => refused.is_none(),
            Err(e) => {
                tracing::debug!(error = %e, "whether this host mounts EROFS images is not known");
                false
            }
        };
        match self.inner.config.layers {
            Layers::Auto | Layers::Erofs if can() => Format::Erofs,
            _ => Format::Directory,
        }
    }

    /// Why this host cannot mount images, if it cannot: tried once.
    ///
    /// # Errors
    /// Why it cannot be tried now: a full disk, for one.
    pub(super) fn mount_refusal(&self) -> Result<Option<&str>> {
        let refused = &self.inner.mounts.refused;
        if let Some(known) = refused.get() {
            return Ok(known.as_deref());
        }
        let found = erofs::try_here(&self.path("tmp"), &self.path("empty"))?.err();
        if let Some(why) = &found {
            match self.inner.config.layers {
                Layers::Erofs => tracing::warn!(why, "layers are directories here"),
                Layers::Auto | Layers::Directory => {
                    tracing::info!(why, "layers are directories here");
                }
            }
        }
        Ok(refused.get_or_init(|| found).as_deref())
    }

    /// Where the parts of a layer are.
    pub(crate) fn stored(&self, key: &LayerKey, format: Format) -> Stored {
        Stored { format, folder: self.layer_dir(key), split: self.split(key) }
    }

    /// A layer for an overlay.
    pub(crate) fn lower_of(&self, key: &LayerKey, format: Format) -> Result<Lower> {
        let folder = self.layer_dir(key);
        match format {
            Format::Directory => Ok(folder.into()),
            Format::Erofs => match self.mounted(key) {
                Ok(mount) => Ok(Lower { folder, path: by_descriptor(&mount), mount: Some(mount) }),
                Err(refused) => Ok(self.as_directory(key, refused)?.into()),
            },
        }
    }

    /// What is below an image without layers.
    pub(super) fn no_layer(&self) -> Lower {
        self.path("empty").into()
    }

    /// What is below every container's image.
    pub(super) fn mount_points(&self) -> Lower {
        self.path(FOLDER).into()
    }

    /// See [`crate::Store::bare`].
    pub(crate) fn bare(&self) -> Vec<Lower> {
        vec![self.no_layer(), self.mount_points()]
    }

    /// The files of a layer. A mount that no container has needed yet is not held for this.
    pub(crate) fn open_layer(&self, key: &LayerKey, format: Format) -> Result<RootDir> {
        let folder = self.layer_dir(key);
        let mount = match format {
            Format::Directory => None,
            Format::Erofs => match self.held(key, index_of(&folder)) {
                Some(mount) => Some(mount),
                None => match erofs::mount(&folder).context(unpacked(key)) {
                    Ok(mount) => Some(Arc::new(mount)),
                    Err(refused) => {
                        let path = self.as_directory(key, refused)?;
                        return RootDir::open(&path, Rule::Beneath).context(path.display());
                    }
                },
            },
        };
        let layer = Lower { path: folder.clone(), folder, mount };
        let opened = layer.open().context(layer.folder.display())?;
        Ok(RootDir::new(opened, Rule::Beneath))
    }

    fn held(&self, key: &LayerKey, of: Option<(u64, u64)>) -> Option<Arc<OwnedFd>> {
        let held = self.inner.mounts.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(key).filter(|known| Some(known.of) == of).map(|known| Arc::clone(&known.mount))
    }

    /// Mounted without the lock: a disk that hangs holds up only those who want this layer.
    fn mounted(&self, key: &LayerKey) -> Result<Arc<OwnedFd>> {
        let folder = self.layer_dir(key);
        let of = index_of(&folder);
        if let Some(mount) = self.held(key, of) {
            return Ok(mount);
        }
        let mount = erofs::share(&folder).map(Arc::new).context(unpacked(key))?;
        let mut held = self.inner.mounts.held.lock().unwrap_or_else(PoisonError::into_inner);
        match (of, held.get(key)) {
            // Somebody was faster.
            (Some(of), Some(known)) if known.of == of => return Ok(Arc::clone(&known.mount)),
            (Some(of), _) => {
                let before = held.insert(key.clone(), Mounted { mount: Arc::clone(&mount), of });
                self.inner.mounts.let_go(before);
                erofs::note(&folder, &mount);
            }
            (None, _) => {}
        }
        Ok(mount)
    }

    /// Lets go of a layer that is not on record any more, together with its bytes.
    pub(super) fn unmount(&self, key: &LayerKey) {
        let mut held = self.inner.mounts.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.mounts.let_go(held.remove(key));
    }

    /// The same for what other processes have removed meanwhile.
    pub(super) fn unmount_gone(&self) {
        let mut held = self.inner.mounts.held.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = held.extract_if(|key, known| index_of(&self.layer_dir(key)) != Some(known.of));
        self.inner.mounts.let_go(gone.map(|(_, known)| known));
        drop(held);
        if self.is_unmounting() {
            self.empty_behind();
        }
    }

    /// Unmounts what was let go of.
    pub(super) fn finish_unmounting(&self) {
        let all = {
            let mut all = self.inner.mounts.let_go.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *all)
        };
        drop(all);
    }

    /// Whether something is left for [`Disk::finish_unmounting`].
    pub(super) fn is_unmounting(&self) -> bool {
        !self.inner.mounts.let_go.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Mounts {
    fn let_go(&self, mounts: impl IntoIterator<Item = Mounted>) {
        let mut all = self.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(mounts.into_iter().map(|known| known.mount));
    }
}

fn unpacked(key: &LayerKey) -> String {
    format!("layer {key}, which was unpacked as an EROFS image")
}

fn by_descriptor(mount: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", mount.as_raw_fd()).into()
}
