//! A second, plain copy of each image's record, from which a damaged database is made anew.
//!
//! `records/<id>.json`, written by rename when an image is recorded or held for longer than a
//! container lives, and removed with it. It is on the disk before it has its name.
//! Leases with a writable layer are found in `writable/<holder>/image`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::documents;
use super::image_rows;
use super::records::{self, NameKind, NewImage, Records};
use super::{Holder, HolderKind, LayerKey};
use crate::digest::ImageId;
use crate::error::{Context, Error, Result};
use crate::layer::Facts;

const VERSION: u32 = 6;
/// Of a program that did not keep the documents of an image.
const BEFORE: u32 = 5;

#[derive(Serialize, Deserialize)]
struct Copy {
    version: u32,
    id: String,
    /// In base64, because it need not be UTF-8.
    config: String,
    /// Likewise; see [`documents`].
    #[serde(default)]
    documents: Vec<String>,
    layers: Vec<(String, Facts)>,
    tags: Vec<String>,
    digests: Vec<String>,
    holders: Vec<String>,
}

fn path(root: &Path, id: &ImageId) -> PathBuf {
    root.join("records").join(format!("{}.json", id.digest().hex()))
}

/// What the database now says of the image; none of one that is not shown.
fn copy_of(tx: &rusqlite::Connection, id: &ImageId) -> Result<Option<Copy>> {
    let Some(row) = image_rows::images(tx, Some(id))?.into_iter().next() else { return Ok(None) };
    let mut layers = Vec::new();
    for key in records::image_layers(tx, id)? {
        if let Some(facts) = records::layer(tx, &key)? {
            layers.push((key.to_string(), facts));
        }
    }
    let of = |kind: NameKind| -> Vec<String> {
        row.names.iter().filter(|(_, k)| *k == kind).map(|(name, _)| name.clone()).collect()
    };
    let config = STANDARD.encode(&row.config);
    let (tags, digests) = (of(NameKind::Tag), of(NameKind::Digest));
    let lasting = |o: &&Holder| matches!(o.kind(), HolderKind::Volume | HolderKind::Person);
    let holders = row.holders.iter().filter(lasting).map(Holder::to_string).collect();
    let documents = documents::of(tx, id)?.iter().map(|bytes| STANDARD.encode(bytes)).collect();
    let (version, id) = (VERSION, id.to_string());
    Ok(Some(Copy { version, id, config, documents, layers, tags, digests, holders }))
}

/// Writes the copy of what the database now says of the image, or removes it. That of an image from
/// which a name has moved here is left as it is, see [`restore`].
pub(super) fn save(root: &Path, tx: &rusqlite::Connection, id: &ImageId) -> Result<()> {
    let path = path(root, id);
    let Some(copy) = copy_of(tx, id)? else {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).context(path.display()),
            _ => Ok(()),
        };
    };
    let text = serde_json::to_vec(&copy).map_err(Error::invalid)?;
    // One name per process is enough: the caller holds the database's write lock.
    let new = path.with_extension("new");
    let done = rrun_sys::record::create(&new, 0o666)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_data()))
        .and_then(|()| std::fs::rename(&new, &path));
    if done.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&new);
    }
    done.context(path.display())
}

/// After a change that the database has not taken, as where it is full: the copy may tell of it.
/// Whoever cannot write it removes it all the same, if there is no such image.
pub(super) fn save_anew(root: &Path, records: &mut Records, id: &ImageId) {
    if let Err(e) = records.write(|tx| save(root, tx, id)) {
        tracing::debug!(image = %id, error = %e, "its copy is not as the records are");
    }
}

/// Fills an empty database from the copies. What does not read, or lacks a layer, is named and
/// left out.
pub(super) fn restore(root: &Path, records: &mut Records, boot: &str) -> Result<()> {
    let mut copies: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(root.join("records"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == "json") {
            copies.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    // A tag that moved belongs to the image that was recorded last.
    copies.sort();
    for (_, path) in copies {
        if let Err(e) = restore_one(root, records, &path, boot) {
            tracing::warn!(record = %path.display(), error = %e, "image not restored");
        }
    }
    for entry in std::fs::read_dir(root.join("writable"))? {
        let entry = entry?;
        if let Err(e) = restore_lease(records, &entry.path()) {
            tracing::warn!(lease = %entry.path().display(), error = %e, "lease not restored");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Copy> {
    let text = rrun_sys::record::read(path)?;
    let copy: Copy = serde_json::from_slice(&text).map_err(Error::invalid)?;
    match copy.version {
        VERSION | BEFORE => Ok(copy),
        other => Err(Error::invalid(format_args!("version {other}"))),
    }
}

/// What is wrong with the copy of an image. That it has names which other images have by now is
/// nothing, see [`restore`].
pub(super) fn fault(
    root: &Path,
    tx: &rusqlite::Connection,
    id: &ImageId,
) -> Result<Option<String>> {
    let Some(wanted) = copy_of(tx, id)? else { return Ok(None) };
    let found = match read(&path(root, id)) {
        Ok(found) => found,
        Err(e) => return Ok(Some(e.to_string())),
    };
    let has = |wanted: &[String], found: &[String]| wanted.iter().all(|one| found.contains(one));
    let keys = |copy: &Copy| copy.layers.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let differs = if (&found.id, &found.config) != (&wanted.id, &wanted.config) {
        "id or config"
    } else if found.documents != wanted.documents {
        "documents"
    } else if keys(&found) != keys(&wanted) {
        "layers"
    } else if !has(&wanted.tags, &found.tags) || !has(&wanted.digests, &found.digests) {
        "names"
    } else if found.holders != wanted.holders {
        "holders"
    } else {
        return Ok(None);
    };
    Ok(Some(format!("its {differs} are not those on record")))
}

/// The config of an image, from its copy.
pub(super) fn config_of(root: &Path, id: &ImageId) -> Result<Vec<u8>> {
    let path = path(root, id);
    let config = read(&path).and_then(|copy| {
        let config = STANDARD.decode(&copy.config).map_err(Error::invalid)?;
        id.digest().verify(&config).map(|()| config)
    });
    config.context(path.display())
}

fn restore_one(root: &Path, records: &mut Records, path: &Path, boot: &str) -> Result<()> {
    let copy = read(path)?;
    let id: ImageId = copy.id.parse()?;
    let config = STANDARD.decode(&copy.config).map_err(Error::invalid)?;
    id.digest().verify(&config)?;
    let documents = copy.documents.iter().map(|text| STANDARD.decode(text));
    let documents =
        documents.collect::<std::result::Result<Vec<_>, _>>().map_err(Error::invalid)?;
    let mut keys = Vec::new();
    for (key, _) in &copy.layers {
        let key: LayerKey = key.parse()?;
        if !root.join("layers").join(key.as_str()).is_dir() {
            return Err(Error::invalid(format_args!("layer {key} is not there")));
        }
        keys.push(key);
    }
    let names: Vec<(String, NameKind)> = (copy.tags.into_iter().map(|t| (t, NameKind::Tag)))
        .chain(copy.digests.into_iter().map(|d| (d, NameKind::Digest)))
        .collect();
    records.write(|tx| {
        for (key, (_, facts)) in keys.iter().zip(&copy.layers) {
            add_durable(tx, key, facts, boot)?;
        }
        let (config, layers, names) = (&config, &keys, &names);
        let new = NewImage { id: &id, config, layers, names, documents: &documents };
        records::add_image(tx, &new)?;
        for holder in &copy.holders {
            records::add_lease(tx, &holder.parse()?, &id, false)?;
        }
        Ok(())
    })
}

/// Records a layer that was on the disk before its image was recorded, or of which nothing better is
/// to be had.
pub(super) fn add_durable(
    tx: &rusqlite::Connection,
    key: &LayerKey,
    facts: &Facts,
    boot: &str,
) -> Result<()> {
    records::add_layer(tx, key, facts, boot)?;
    let row = records::fresh(tx, std::slice::from_ref(key))?;
    records::mark_durable(tx, &row)
}

/// The lease that a writable layer tells of.
pub(super) fn restore_lease(records: &mut Records, dir: &Path) -> Result<()> {
    let holder = Holder::of_file_name(&dir.file_name().unwrap_or_default().to_string_lossy())?;
    records.write(|tx| {
        // Now that nobody ends a lease: who does has its folder out of the way before.
        let image = std::fs::read_link(dir.join("image"))?;
        let id: ImageId = image.to_string_lossy().parse()?;
        records::add_lease(tx, &holder, &id, true)
    })
}

/// The ids of the images that are shown, as far as they can be read.
fn shown(tx: &rusqlite::Connection) -> Result<BTreeSet<ImageId>> {
    let ids: Vec<String> = records::texts(tx, "SELECT id FROM image WHERE removed=0")?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

/// Writes the copies that are missing, and removes those of no image, and halves of them: a killed
/// process, or a power cut, left them so.
pub(super) fn sweep(root: &Path, records: &mut Records) -> Result<()> {
    let folder = root.join("records");
    let differ = |tx: &rusqlite::Connection| -> Result<(BTreeSet<ImageId>, Vec<PathBuf>)> {
        let mut missing = shown(tx)?;
        let mut others = Vec::new();
        for entry in std::fs::read_dir(&folder).context(folder.display())? {
            let path = entry.context(folder.display())?.path();
            let is_copy = path.extension().is_some_and(|end| end == "json");
            let hex = path.file_stem().unwrap_or_default().to_string_lossy();
            let id = format!("sha256:{hex}").parse::<ImageId>().ok();
            let is_known = id.as_ref().is_some_and(|id| is_copy && missing.remove(id));
            if !is_known && (is_copy || path.extension().is_some_and(|end| end == "new")) {
                others.push(path);
            }
        }
        Ok((missing, others))
    };
    let (missing, others) = records.read(differ)?;
    if missing.is_empty() && others.is_empty() {
        return Ok(());
    }
    records.write(|tx| {
        // Whoever has one in work has the lock that is held now.
        let (missing, others) = differ(tx)?;
        missing.iter().try_for_each(|id| save(root, tx, id))?;
        others.iter().try_for_each(|path| std::fs::remove_file(path).context(path.display()))
    })
}
