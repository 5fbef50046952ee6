//! Writing images out: an OCI image layout, with the `manifest.json` of `docker save` beside its
//! index, so that whatever reads either reads it.
//!
//! A layer is its archive, made again and not compressed: then its blob has its diff ID for a
//! digest, and an image the id that it has here. The documents by which it was pulled are written as
//! they were where they lead to just these blobs. Where they lead to compressed ones, of which nothing
//! is here any more, the image gets a manifest of its own, with the annotations of that other one, and
//! so another digest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config;
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Result};
use crate::layer::Stored;
use crate::manifest::{self, Document};
use crate::store::{Disk, Hashing, Image};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where images are written to.
#[derive(Debug)]
pub enum ExportTo {
    /// A folder, which is made, and must be empty if it is there.
    Folder(PathBuf),
    /// A tar.
    Tar(File),
}

/// A layer to be written: its digest, its size, and where its parts are.
#[derive(Clone)]
struct Part {
    diff_id: Digest,
    size: u64,
    stored: Stored,
}

/// An image that was written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// As it was asked for.
    pub name: String,
    /// Of the manifest or index that its names stand for.
    pub digest: Digest,
    /// Names of it by other digests (`name@digest`), which it does not have where this is imported.
    pub lost: Vec<String>,
}

/// See [`crate::Store::export`].
pub(crate) fn export(disk: &Disk, images: &[String], to: ExportTo) -> Result<Vec<Exported>> {
    let mut out = Out::open(to)?;
    let mut index = Vec::new();
    let mut saved = Vec::new();
    let mut written = BTreeSet::new();
    let mut all = Vec::new();
    for name in images {
        let image = disk.find(name)?;
        let image = image.ok_or_else(|| Error::not_found("no such image")).context(name)?;
        let document = disk.document(&image.id).context(name)?;
        let parts = parts(disk, &image.id, &document).context(name)?;
        for part in &parts {
            if written.insert(part.diff_id.clone()) {
                out.layer(part).context(format_args!("layer {}", part.diff_id))?;
            }
        }
        let mut documents = disk.documents(&image.id).context(name)?;
        if !lead_to(&documents, &image.id, &parts) {
            documents = vec![manifest(&image.id, document.len(), &parts, documents.last())?];
        }
        let digests: Vec<Digest> = documents.iter().map(|bytes| Digest::of(bytes)).collect();
        let config = (image.id.digest(), &document);
        for (digest, bytes) in digests.iter().zip(&documents).chain([config]) {
            if written.insert(digest.clone()) {
                out.file(&blob(digest), bytes)?;
            }
        }
        if let (Some(digest), Some(bytes)) = (digests.into_iter().next(), documents.first()) {
            index.extend(entries(&image, &digest, bytes)?);
            let is_lost = |name: &&String| !is_by(name, &digest);
            let lost = image.digests.iter().filter(is_lost).cloned().collect();
            all.push(Exported { name: name.clone(), digest, lost });
        }
        saved.push(json!({
            "Config": blob(image.id.digest()),
            "RepoTags": image.tags,
            "Layers": parts.iter().map(|part| blob(&part.diff_id)).collect::<Vec<_>>(),
        }));
    }
    out.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": index});
    out.file("index.json", index.to_string().as_bytes())?;
    out.file("manifest.json", Value::Array(saved).to_string().as_bytes())?;
    out.finish()?;
    Ok(all)
}

/// Whether the documents, each of which leads to the next one, lead to this config and to the layers
/// as they are written.
fn lead_to(documents: &[Vec<u8>], id: &ImageId, parts: &[Part]) -> bool {
    let Some(Ok(last)) = documents.last().map(|bytes| manifest::parse(bytes)) else { return false };
    let Document::Manifest { config, layers } = last else { return false };
    let is_next = |pair: &[Vec<u8>]| match manifest::parse(&pair[0]) {
        Ok(Document::Index(all)) => all.iter().any(|one| one.digest == Digest::of(&pair[1])),
        _ => false,
    };
    let is_written = layers.iter().zip(parts).all(|(layer, part)| layer.digest == part.diff_id);
    config.digest == *id.digest()
        && layers.len() == parts.len()
        && is_written
        && documents.windows(2).all(is_next)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}", digest.to_string().replace(':', "/"))
}

/// The layers of an image. Each is hashed before anything of it is written.
fn parts(disk: &Disk, id: &ImageId, document: &[u8]) -> Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let known = disk.parts_of(id)?;
    // The store keeps a layer once that its image has more often.
    for wanted in config::parse(document)?.diff_ids {
        let what = format!("layer {wanted}");
        let before = parts.iter().find(|part| part.diff_id == wanted).cloned();
        if let Some(same) = before {
            parts.push(same);
            continue;
        }
        let found = known.iter().find(|(diff_id, _)| *diff_id == wanted);
        let found = found.ok_or_else(|| Error::not_found("it is gone").context(&what))?;
        let (diff_id, stored) = found.clone();
        if !stored.has_archive() {
            let why = "its archive cannot be made again: it has a path more than once";
            return Err(Error::invalid(why).context(what));
        }
        let mut hashing = Hashing::new(&diff_id);
        stored.write_archive(&mut hashing).context(&what)?;
        let size = hashing.bytes;
        diff_id.expect_equal(&hashing.finish()).context(&what)?;
        parts.push(Part { diff_id, size, stored });
    }
    Ok(parts)
}

/// A manifest of what is written, with the annotations of the one by which the image came.
fn manifest(
    id: &ImageId,
    config: usize,
    parts: &[Part],
    pulled: Option<&Vec<u8>>,
) -> Result<Vec<u8>> {
    let layer = |part: &Part| json!({"mediaType": LAYER, "digest": part.diff_id.to_string(), "size": part.size});
    let config = json!({
        "mediaType": CONFIG, "digest": id.to_string(), "size": config,
    });
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
        "layers": parts.iter().map(layer).collect::<Vec<_>>(),
    });
    if let Some(annotations) = pulled.and_then(|bytes| manifest::annotations(bytes)) {
        manifest["annotations"] = annotations;
    }
    serde_json::to_vec(&manifest).map_err(Error::invalid)
}

/// The entries of the index for an image that is this document: one for each name, or one without.
fn entries(image: &Image, digest: &Digest, document: &[u8]) -> Result<Vec<Value>> {
    let media_type = manifest::media_type(document)?;
    let size = document.len();
    let entry = |annotations: Option<Value>| {
        let digest = digest.to_string();
        let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": size });
        if let Some(annotations) = annotations {
            entry["annotations"] = annotations;
        }
        entry
    };
    let named = |name: &String| {
        let tag = name.rsplit(':').next().unwrap_or_default();
        entry(Some(json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": tag,
        })))
    };
    // A tag stands for the digest of the same name as well.
    let known: Vec<&str> =
        image.tags.iter().filter_map(|tag| Some(tag.rsplit_once(':')?.0)).collect();
    let is_new = |name: &&String| {
        is_by(name, digest) && name.split_once('@').is_some_and(|(name, _)| !known.contains(&name))
    };
    let by_digest = image
        .digests
        .iter()
        .filter(is_new)
        .map(|name| entry(Some(json!({ "io.containerd.image.name": name }))));
    let named: Vec<Value> = image.tags.iter().map(named).chain(by_digest).collect();
    Ok(if named.is_empty() { vec![entry(None)] } else { named })
}

/// Whether a name is one by this digest.
fn is_by(name: &str, digest: &Digest) -> bool {
    name.rsplit_once('@').is_some_and(|(_, of)| of == digest.to_string())
}

/// What is written to.
enum Out {
    Folder(PathBuf),
    Tar(BufWriter<File>),
}

impl Out {
    fn open(to: ExportTo) -> Result<Out> {
        match to {
            ExportTo::Tar(file) => Ok(Out::Tar(BufWriter::new(file))),
            ExportTo::Folder(path) => {
                let what = path.display().to_string();
                std::fs::create_dir_all(&path).context(&what)?;
                if std::fs::read_dir(&path).context(&what)?.next().is_some() {
                    return Err(Error::invalid("the folder is not empty").context(what));
                }
                Ok(Out::Folder(path))
            }
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, bytes.len() as u64, |out| Ok(out.write_all(bytes)?))
    }

    fn layer(&mut self, part: &Part) -> Result<()> {
        let work = |out: &mut dyn Write| part.stored.write_archive(out);
        self.entry(&blob(&part.diff_id), part.size, work)
    }

    fn entry(
        &mut self,
        name: &str,
        size: u64,
        work: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        match self {
            Out::Folder(folder) => {
                let path = folder.join(name);
                let parent = path.parent().unwrap_or(Path::new("/"));
                std::fs::create_dir_all(parent).context(parent.display())?;
                let mut file = BufWriter::new(File::create(&path).context(path.display())?);
                work(&mut file)?;
                file.flush().context(path.display())
            }
            Out::Tar(out) => {
                out.write_all(&header(name, size)?)?;
                work(out)?;
                let padding = size.next_multiple_of(512) - size;
                Ok(io::copy(&mut io::Read::take(io::repeat(0), padding), out).map(drop)?)
            }
        }
    }

    fn finish(self) -> Result<()> {
        if let Out::Tar(mut out) = self {
            out.write_all(&[0; 1024])?;
            out.flush()?;
        }
        Ok(())
    }
}

/// The header of a file, in the format of GNU tar, with what a long name takes before it.
fn header(name: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut header = ::tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    // Without the data, which is written behind it as it comes.
    let mut archive = ::tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, io::empty())?;
    Ok(archive.get_ref().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Archive, EntryKind};

    #[test]
    fn a_header_is_read_back_with_names_and_sizes_of_any_length() {
        let of_sha512 = format!("blobs/sha512/{}", "0".repeat(128));
        for name in ["blobs/sha256/x", &of_sha512] {
            for size in [0, 1, (1 << 33) - 1, 1 << 33, 1 << 40] {
                let header = header(name, size).unwrap();
                let entry = Archive::new(&header[..]).next_entry().unwrap().unwrap();
                assert_eq!((entry.path.as_slice(), entry.size), (name.as_bytes(), size));
                assert_eq!((entry.kind, entry.mode), (EntryKind::File, 0o644));
            }
        }
    }
}
