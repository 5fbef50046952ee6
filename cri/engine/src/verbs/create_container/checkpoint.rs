//! A container whose image is a checkpoint, the path of an archive or an image with one in it: it is
//! made of the image that the checkpointed one had, with what that had changed, and its processes go on
//! from there.

use super::{CreateContainer, Planned};
use crate::blocking::blocking;
use crate::dirs;
use crate::error::{Context, Error, Kind, Result};
use crate::host_paths::Look;
use crate::model::{ContainerConfig, ImageSpec};
use crate::ports::ImageInfo;
use crate::verbs::{ContainerAt, PodAt};
use rrun_images::{Checkpoint, Documents};
use rrun_runtime::plan::Plan;
use rrun_shim_protocol::Restore;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// File systems of which a container gets a new instance.
const NEW: [&str; 7] = ["proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup", "cgroup2"];

/// An archive, and what of it matters before anything is made.
pub(super) struct Source {
    archive: Arc<Checkpoint>,
    /// The image that it is in, if it is in one.
    image: Option<String>,
    criu: PathBuf,
    /// Where something of outside was mounted.
    mounts: Vec<String>,
    /// The image that its container is made of, as a status has it.
    base: Arc<ImageSpec>,
}

/// `config.dump`, as podman's format has it. Each runtime fills in what it knows of the image.
#[derive(Deserialize)]
struct Config {
    #[serde(default, rename = "rootfsImageRef")]
    image_ref: String,
    #[serde(default, rename = "rootfsImageName")]
    image_name: String,
    #[serde(default, rename = "rootfsImage")]
    image: String,
}

/// `spec.dump`.
#[derive(Deserialize)]
struct Spec {
    process: Process,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    terminal: bool,
}

#[derive(Deserialize)]
struct Mount {
    destination: String,
    #[serde(default, rename = "type")]
    fstype: String,
}

/// The image of a container, and the checkpoint that it is to be made of if what was asked for is one:
/// then it is the image below that.
///
/// # Errors
/// `NotFound` without the image, or the archive, or the image below it, which nobody pulls here;
/// `Unimplemented` for what cannot be restored by this release or on this host.
pub(super) async fn find(
    at: &PodAt,
    config: &ContainerConfig,
) -> Result<(Option<Source>, ImageInfo)> {
    let (name, images) = (&config.image.image, &at.engine.ports.images);
    if name.starts_with('/') {
        let criu = criu(at).await?;
        let archive = of_path(at, name.clone()).await?;
        return restored(at, config, (archive, None, criu)).await;
    }
    let image = images.find(name).await?;
    let Some(archive) = images.checkpoint(&image.id).await? else { return Ok((None, image)) };
    if !at.engine.settings().restore_checkpoints {
        let message = "it is a checkpoint, and images.restore_checkpoints does not allow it";
        return Err(Error::precondition(message).context(format!("image {name}")));
    }
    let criu = criu(at).await?;
    restored(at, config, (archive, Some(image.id), criu)).await
}

/// The program, where a container of this pod can be restored.
async fn criu(at: &PodAt) -> Result<PathBuf> {
    let cannot = |why: &str| {
        let message = format!("a checkpoint cannot be restored {why}");
        Err(Error::new(Kind::Unimplemented, message))
    };
    if at.pod.config.id_maps().is_some() {
        return cannot("into a user namespace");
    }
    if crate::handlers::find(&at.engine.settings().handlers, &at.pod.record().handler)?.is_some() {
        return cannot("by another runtime handler");
    }
    at.engine.ports.host.criu().await
}

async fn of_path(at: &PodAt, path: String) -> Result<Checkpoint> {
    let (looked, there) = (path.clone(), |path: &str| Ok(Path::new(path).exists()));
    // A thread that looks has descriptors of its own: what it opens is nobody else's.
    let look = move |look: &Look| look.at(&looked, || there(&looked));
    at.engine.host_paths.look(&at.pod.id, look).await?;
    blocking(move || Ok(Checkpoint::open(Path::new(&path))?)).await
}

async fn restored(
    at: &PodAt,
    config: &ContainerConfig,
    (archive, of, criu): (Checkpoint, Option<String>, PathBuf),
) -> Result<(Option<Source>, ImageInfo)> {
    let archive = Arc::new(archive);
    let read = Arc::clone(&archive);
    let Documents { config: told, spec } = blocking(move || Ok(read.documents()?)).await?;
    let what = || format!("checkpoint {}", config.image.image);
    let told: Config = parsed(&told).context(|| "config.dump").context(what)?;
    let spec: Spec = parsed(&spec).context(|| "spec.dump").context(what)?;
    if spec.process.terminal != config.tty {
        let message = "one of it and the request has a terminal, and the other has none";
        return Err(Error::invalid(message).context(what()));
    }
    let (image, base) = image(at, &told).await.context(what)?;
    if of.as_ref() == Some(&image.id) {
        let message = "it says that it is the image of its own container";
        return Err(Error::invalid(message).context(what()));
    }
    let of_outside = spec.mounts.into_iter().filter(|mount| !NEW.contains(&&*mount.fstype));
    let mounts = of_outside.map(|mount| mount.destination).collect();
    let source = Source { archive, image: of, criu, mounts, base: Arc::new(base) };
    Ok((Some(source), image))
}

fn parsed<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::invalid(error.to_string()))
}

/// The image of the checkpointed container, by whatever name it is here, and as a status has it: by its
/// id, and by a name of those that really is its own.
async fn image(at: &PodAt, told: &Config) -> Result<(ImageInfo, ImageSpec)> {
    let images = &at.engine.ports.images;
    let names = [&told.image_ref, &told.image_name, &told.image];
    let mut missing = Error::invalid("it does not say of which image its container was");
    let (mut found, mut given): (Option<ImageInfo>, Option<&String>) = (None, None);
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        match (images.find(name).await, &found) {
            (Ok(image), None) => (found, given) = (Some(image), Some(name)),
            (Ok(image), Some(first)) if image.id == first.id => given = Some(name),
            (Err(error), None) if matches!(error.kind(), Kind::NotFound | Kind::Invalid) => {
                missing = Error::not_found("the image of its container is not here, pull it first")
                    .context(name.escape_debug().to_string());
            }
            (Err(error), None) => return Err(error),
            _ => {}
        }
    }
    let image = found.ok_or(missing)?;
    let user_specified = given.cloned().unwrap_or_default();
    let base = ImageSpec { image: image.id.clone(), user_specified, ..ImageSpec::default() };
    Ok((image, base))
}

impl Source {
    /// The image below it, as a status has it.
    pub(super) fn base(&self) -> Arc<ImageSpec> {
        Arc::clone(&self.base)
    }

    /// Checks what was planned for the container.
    pub(super) fn check(&self, plan: &Plan) -> Result<()> {
        let is_there = |path: &&String| plan.mounts.iter().any(|mount| mount.target == **path);
        if let Some(path) = self.mounts.iter().find(|path| !is_there(path)) {
            let message = "its container has something mounted there, and the request has not";
            return Err(Error::invalid(message).context(format!("checkpoint: mount {path:?}")));
        }
        let hooks = plan.hooks.as_ref();
        if hooks
            .is_some_and(|all| !all.create_container.is_empty() || !all.start_container.is_empty())
        {
            let message = "a checkpoint cannot be restored with hooks in the container";
            return Err(Error::new(Kind::Unimplemented, message));
        }
        Ok(())
    }
}

impl CreateContainer {
    /// Takes the archive apart: into a folder for criu, and into the writable layer, which nothing is
    /// mounted of yet.
    pub(super) async fn unpack_checkpoint(&self) -> Result<()> {
        let Some(source) = &self.checkpoint else { return Ok(()) };
        let layers = self.layers.as_ref().ok_or_else(|| Error::internal("no layers"))?;
        let (archive, upper) = (Arc::clone(&source.archive), layers.upper.clone());
        let (dirs, id) = (&self.at.at.pod.dirs, &self.at.container.id);
        let (folder, bundle) = (dirs.restored(id), dirs.bundle(id));
        let (images, holder) = (&self.at.at.engine.ports.images, id.as_str());
        if let Some(image) = &source.image {
            // With the root file system it is given back, however this ends.
            images.view(holder, image).await.context(|| "checkpoint")?;
        }
        blocking(move || {
            let images = folder.join("images");
            for folder in [&folder, &images, &bundle] {
                dirs::make_private(folder)?;
            }
            Ok(archive.unpack(&images, &upper)?)
        })
        .await?;
        match &source.image {
            // All that is needed of it has been read.
            Some(image) => images.let_go(holder, image).await,
            None => Ok(()),
        }
    }

    /// What the shim is told of it.
    pub(super) fn restore(&self) -> Option<Restore> {
        let source = self.checkpoint.as_ref()?;
        let (dirs, id) = (&self.at.at.pod.dirs, &self.at.container.id);
        let folder = dirs.restored(id);
        Some(Restore {
            criu: source.criu.clone(),
            images: folder.join("images"),
            work: folder.join("work"),
            bundle: dirs.bundle(id),
        })
    }

    pub(super) fn check_checkpoint(&self, planned: &Planned) -> Result<()> {
        self.checkpoint.as_ref().map_or(Ok(()), |source| source.check(&planned.plan))
    }

    /// The processes are there: their image is not needed any more.
    pub(super) async fn forget_checkpoint(&self) -> Result<()> {
        match &self.checkpoint {
            Some(_) => self.at.remove_restored().await,
            None => Ok(()),
        }
    }
}

impl ContainerAt {
    pub(super) async fn undo_checkpoint(&self) -> Result<()> {
        let bundle = self.at.pod.dirs.bundle(&self.container.id);
        self.at.pod.disk.run(move || dirs::remove_all(&bundle)).await?;
        self.remove_restored().await
    }

    async fn remove_restored(&self) -> Result<()> {
        let folder = self.at.pod.dirs.restored(&self.container.id);
        let remove = move || {
            dirs::remove_all(&folder)?;
            // With the last one.
            let _ = folder.parent().map(std::fs::remove_dir);
            Ok(())
        };
        self.at.pod.disk.run(remove).await
    }
}
