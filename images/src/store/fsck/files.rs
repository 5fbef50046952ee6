//! What lies in the folders of the store.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

use rusqlite::Connection;

use super::rows::{layers, rows};
use super::{Fault, Remedy, Store, is_held, names};
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Result};
use crate::partial;
use crate::store::mount_points::{self, FOLDER};
use crate::store::open::{DIRS, mode};
use crate::store::verify::DAMAGED;
use crate::store::{Holder, HolderKind, LayerKey};

/// The directories of the store, and that they are ours alone: there are setuid programs below.
pub(super) fn places(store: &mut Store<'_>) -> Result<()> {
    for dir in std::iter::once("").chain(DIRS) {
        let path = store.root.join(dir);
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                store.look.add(Fault::Directory, dir, "it is missing", Remedy::Open);
                continue;
            }
            Err(e) => return Err(e).context(path.display()),
        };
        let object = if dir.is_empty() { "." } else { dir };
        if !found.is_dir() {
            let remedy = Remedy::Nothing("move away what is there");
            store.look.add(Fault::Directory, object, "it is no directory", remedy);
        } else if let Some(what) = open_to_others(dir, &found) {
            store.look.add(Fault::Directory, object, what, Remedy::Close(path, mode(dir)));
        }
    }
    if !names(store.root, "empty")?.is_empty() {
        let remedy = Remedy::Nothing("containers may see it: move away what is in it");
        store.look.add(Fault::Directory, "empty", "something is in it", remedy);
    }
    let folder = store.root.join(FOLDER);
    for name in mount_points::strange(&folder).context(folder.display())? {
        let remedy = Remedy::Nothing("containers may see it: move it away");
        let what = "it is no empty mount point";
        store.look.add(Fault::Directory, format!("{FOLDER}/{name}"), what, remedy);
    }
    Ok(())
}

/// The root may be a mount point that others can read: what is below is closed all the same.
fn open_to_others(dir: &str, found: &Metadata) -> Option<String> {
    let us = nix::unistd::geteuid().as_raw();
    if found.uid() != us {
        return Some(format!("it belongs to uid {}", found.uid()));
    }
    let may = if dir.is_empty() { 0o755 } else { mode(dir) };
    let has = found.mode() & 0o7777;
    // Special bits give nobody anything here.
    let is_open = has & 0o777 & !may != 0;
    let is_shut = has & 0o700 != 0o700;
    (is_open || is_shut).then(|| format!("its mode is {has:04o}, not {:04o}", mode(dir)))
}

pub(super) fn check(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    unrecorded(store, db)?;
    copies(store, db)?;
    staging(store)?;
    partials(store)?;
    locks(store, db)?;
    trash(store, db)?;
    for end in ["", "-wal", "-shm"] {
        let name = format!("records.db.damaged{end}");
        if store.root.join(&name).exists() {
            store.look.note(format!("{name}: set aside when the records were made anew"));
        }
    }
    Ok(())
}

/// Layers and splits. Their rows are read after the folders, and the locks in between: a layer gets
/// its folder and its row under its lock.
fn unrecorded(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    for folder in ["layers", "splits"] {
        let mut candidates = Vec::new();
        for name in names(store.root, folder)? {
            match name.parse::<LayerKey>() {
                Ok(key) if is_held(store.root, key.as_str())? => {}
                Ok(key) => candidates.push(key),
                Err(_) => {
                    store.look.note(format!("{folder}/{name}: not of the store, left alone"));
                }
            }
        }
        let known: BTreeSet<LayerKey> = layers(db)?.into_iter().map(|(key, _)| key).collect();
        for key in candidates.into_iter().filter(|key| !known.contains(key)) {
            let (fault, what) = match folder {
                "layers" => (Fault::Orphan, "this layer is not on record"),
                _ => (Fault::Split, "its layer is not on record"),
            };
            store.look.add(fault, format!("{folder}/{key}"), what, Remedy::Open);
        }
    }
    Ok(())
}

/// Copies of records that are of no image; those of images are compared with their rows.
fn copies(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    let found = names(store.root, "records")?;
    let ids = rows(db, "SELECT id FROM image WHERE removed=0", [], |row| row.get::<_, String>(0))?;
    let hex = |id: &String| Some(id.parse::<ImageId>().ok()?.digest().hex().to_owned());
    let known: BTreeSet<String> = ids.iter().filter_map(hex).collect();
    for name in found {
        let what = match name.rsplit_once('.') {
            Some((stem, "json")) if known.contains(stem) => continue,
            Some((_, "json")) => "its image is not on record",
            Some((_, "new")) => "half a copy, of a process that is dead",
            _ => {
                store.look.note(format!("records/{name}: not of the store, left alone"));
                continue;
            }
        };
        let path = store.root.join("records").join(&name);
        store.look.add(Fault::Copy, format!("records/{name}"), what, Remedy::File(path));
    }
    Ok(())
}

fn staging(store: &mut Store<'_>) -> Result<()> {
    for name in names(store.root, "tmp")? {
        let path = format!("tmp/{name}");
        let key = name.strip_suffix(DAMAGED);
        let what = match key {
            Some(_) => "a damaged layer, of a repair that is dead",
            None => "half a layer, of a pull that is dead",
        };
        match key.unwrap_or(&name).parse::<LayerKey>() {
            Err(_) => store.look.note(format!("{path}: not of the store, left alone")),
            Ok(_) if is_held(store.root, &name)? => {}
            Ok(_) => store.look.add(Fault::Staging, path, what, Remedy::Open),
        }
    }
    Ok(())
}

/// What is kept of blobs is named by their digests and has no header: whether it is what its name
/// says is known when the rest has come.
fn partials(store: &mut Store<'_>) -> Result<()> {
    for name in names(store.root, "partial")? {
        let path = store.root.join("partial").join(&name);
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let what = if name.replacen('-', ":", 1).parse::<Digest>().is_err() {
            "its name is no digest"
        } else if !found.is_file() {
            "it is no regular file"
        } else if partial::is_old(&found) {
            "nobody went on with it for a day"
        } else {
            continue;
        };
        store.look.add(Fault::Partial, format!("partial/{name}"), what, Remedy::File(path));
    }
    Ok(())
}

fn locks(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    let found = names(store.root, "locks")?;
    let known: BTreeSet<String> = layers(db)?.iter().map(|(key, _)| key.to_string()).collect();
    let sql = "SELECT holder FROM layer_lease UNION SELECT holder FROM lease";
    let holders: BTreeSet<String> =
        rows(db, sql, [], |row| row.get::<_, String>(0))?.into_iter().collect();
    for name in found {
        let is_key = name.strip_suffix(DAMAGED).unwrap_or(&name).parse::<LayerKey>().is_ok();
        let pull = Holder::of_file_name(&name).ok().filter(|one| one.kind() == HolderKind::Pull);
        let stands = match &pull {
            Some(pull) => holders.contains(&pull.to_string()),
            None if is_key => {
                let staged = store.root.join("tmp").join(&name);
                known.contains(&name) || staged.exists()
            }
            None => {
                store.look.note(format!("locks/{name}: not of the store, left alone"));
                continue;
            }
        };
        if !stands && !is_held(store.root, &name)? {
            let what = "what it stood for is gone";
            store.look.add(Fault::Lock, format!("locks/{name}"), what, Remedy::Lock(name));
        }
    }
    Ok(())
}

/// What is in the trash is deleted by whoever opens the store next.
fn trash(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    let counted = rows(db, "SELECT name FROM trash", [], |row| row.get::<_, String>(0))?;
    let found = names(store.root, "trash")?;
    if !found.is_empty() {
        let count = found.len();
        store.look.note(format!("trash: {count} removed things are not deleted yet"));
    }
    for name in counted.into_iter().filter(|name| !found.contains(name)) {
        let what = "it is deleted, and still counted";
        store.look.add(Fault::Trash, format!("trash/{name}"), what, Remedy::Trash);
    }
    Ok(())
}
