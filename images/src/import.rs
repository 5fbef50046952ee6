//! Importing: from a layout or an archive to the images that this node can run.

use std::path::Path;
use std::sync::Arc;

use crate::docker_archive::Saved;
use crate::error::{Context, Error, Kind, Result};
use crate::layout::Layout;
use crate::manifest::{self, Descriptor};
use crate::platform::HostPlatform;
use crate::progress::Reporter;
use crate::pull::complete;
use crate::reference::Reference;
use crate::source::{Parts, Source};
use crate::store::records::NameKind;
use crate::store::{Disk, Image};

/// An image that was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The image, with all names that it has now.
    pub image: Image,
    /// Those that this import gave it; none if it is found by its id alone.
    pub names: Vec<Reference>,
}

/// What is in a layout or an archive.
enum Content {
    /// The entries of its index.
    Oci(Vec<Descriptor>),
    /// The images of its `manifest.json`.
    Docker(Vec<Saved>),
}

/// See [`crate::Store::import_layout`].
pub(crate) async fn import(
    disk: &Disk,
    path: &Path,
    name: Option<&Reference>,
) -> Result<Vec<Imported>> {
    let path = path.to_owned();
    let open = move |disk: &Disk| {
        let mut layout = Layout::open(&path, &disk.path("tmp"))?;
        let content = match layout.index()? {
            Some(index) => Content::Oci(index),
            None => Content::Docker(layout.saved()?),
        };
        Ok((layout, content))
    };
    let (layout, content) = disk.run(open).await?;
    let source = Source::Layout(layout);
    let images = match content {
        Content::Oci(index) => import_index(disk, &source, &index, name).await?,
        Content::Docker(saved) => import_saved(disk, &source, saved, name).await?,
    };
    match images.is_empty() {
        true => Err(Error::not_found("no image in it")),
        false => Ok(images),
    }
}

fn check_name(images: usize, name: Option<&Reference>) -> Result<()> {
    match name {
        Some(_) if images != 1 => {
            Err(Error::invalid(format_args!("{images} images in it, but one name")))
        }
        Some(name) if name.tagged().is_none() => {
            Err(Error::invalid(format_args!("{name}: want a name and a tag, no digest")))
        }
        _ => Ok(()),
    }
}

/// What is no image, or none for this node, is passed over if something else is one: signatures and
/// lists of parts stand beside images.
async fn import_index(
    disk: &Disk,
    source: &Source,
    index: &[Descriptor],
    name: Option<&Reference>,
) -> Result<Vec<Imported>> {
    let index = manifest::choose(index, &HostPlatform::here())?;
    check_name(index.len(), name)?;
    let mut images = Vec::new();
    let mut passed = None;
    for entry in index {
        let names = match (name, &entry.name) {
            (Some(name), _) => vec![name.clone()],
            // An annotation may be a mere tag, which names nothing.
            (None, Some(text)) if text.contains(['/', ':']) => text.parse().into_iter().collect(),
            (None, _) => Vec::new(),
        };
        match import_entry(disk, source, entry, names).await {
            Ok(image) => images.push(image),
            Err(e) if e.kind() == Kind::NotFound => passed = Some(e),
            Err(e) => return Err(e).context(&entry.digest),
        }
    }
    match passed {
        Some(e) if images.is_empty() => Err(e),
        _ => Ok(images),
    }
}

async fn import_entry(
    disk: &Disk,
    source: &Source,
    entry: &Descriptor,
    names: Vec<Reference>,
) -> Result<Imported> {
    let top = source.manifest(entry).await?;
    let is_decided = entry.platform.is_some();
    let mut parts = source.parts_of(top, is_decided).await?;
    for name in &names {
        parts.names.push((format!("{}@{}", name.name(), entry.digest), NameKind::Digest));
    }
    record(disk, source, parts, names).await
}

async fn import_saved(
    disk: &Disk,
    source: &Source,
    saved: Vec<Saved>,
    name: Option<&Reference>,
) -> Result<Vec<Imported>> {
    check_name(saved.len(), name)?;
    let mut images = Vec::new();
    for saved in saved {
        let names = match name {
            Some(name) => vec![name.clone()],
            None => saved.tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
        };
        let parts = source.parts_of_config(saved.id, saved.config, saved.layers, false)?;
        images.push(record(disk, source, parts, names).await?);
    }
    Ok(images)
}

async fn record(
    disk: &Disk,
    source: &Source,
    mut parts: Parts,
    names: Vec<Reference>,
) -> Result<Imported> {
    let tags = names.iter().filter_map(Reference::tagged).map(|tag| (tag, NameKind::Tag));
    parts.names.extend(tags);
    let id = complete(disk, source, Arc::new(parts), &Reporter::default()).await?;
    let found = disk.run(move |disk| disk.find(&id.to_string())).await?;
    let image = found.ok_or_else(|| Error::not_found("removed right after its import"))?;
    Ok(Imported { image, names })
}
