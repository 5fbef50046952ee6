//! Writing images out: an OCI image layout, with the `manifest.json` of `docker save` beside its
//! index, so that whatever reads either reads it.
//!
//! A layer is its archive, made again and not compressed: then its blob has its diff ID for a
//! digest, and an image the id that it has here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config;
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Result};
use crate::layer::Stored;
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

/// See [`crate::Store::export`].
pub(crate) fn export(disk: &Disk, images: &[String], to: ExportTo) -> Result<()> {
    let mut out = Out::open(to)?;
    let mut index = Vec::new();
    let mut saved = Vec::new();
    let mut written = BTreeSet::new();
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
        let manifest = manifest(&image.id, document.len(), &parts)?;
        let digest = Digest::of(&manifest);
        for (digest, bytes) in [(image.id.digest(), &document), (&digest, &manifest)] {
            if written.insert(digest.clone()) {
                out.file(&blob(digest), bytes)?;
            }
        }
        let size = manifest.len();
        index.extend(entries(&image, &json!({"digest": digest.to_string(), "size": size})));
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
    out.finish()
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

fn manifest(id: &ImageId, config: usize, parts: &[Part]) -> Result<Vec<u8>> {
    let layer = |part: &Part| json!({"mediaType": LAYER, "digest": part.diff_id.to_string(), "size": part.size});
    let config = json!({
        "mediaType": CONFIG, "digest": id.to_string(), "size": config,
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
        "layers": parts.iter().map(layer).collect::<Vec<_>>(),
    });
    serde_json::to_vec(&manifest).map_err(Error::invalid)
}

/// The entries of the index: one for each name, or one without.
fn entries(image: &Image, descriptor: &Value) -> Vec<Value> {
    let entry = |annotations: Option<Value>| {
        let mut entry = descriptor.clone();
        entry["mediaType"] = MANIFEST.into();
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
    match image.tags.as_slice() {
        [] => vec![entry(None)],
        tags => tags.iter().map(named).collect(),
    }
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
