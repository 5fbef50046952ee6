//! What is wrong with the store, found without changing anything.
//!
//! Other processes may have it open. What somebody works on is locked and passed over, and what is
//! seen once and not a second time was somebody's work in progress.

mod files;
mod leases;
mod mend;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

pub(crate) use mend::before_opening;

use super::lock::Lock;
use super::{Holder, LayerKey, verify};
use crate::digest::ImageId;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Format, Stored};

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A directory of the store: missing, or not only ours.
    Directory,
    /// The records: the database, or a row that cannot be what was written.
    Records,
    /// The plain copy of an image's record, from which the database is made anew.
    Copy,
    /// An image: its config, its list of layers, or a layer that has no record.
    Image,
    /// A layer that is on record: its folder, or its content.
    Layer,
    /// The split of a layer, which its archive is made of again.
    Split,
    /// A folder of a layer, or a writable one, that nothing on record names.
    Orphan,
    /// Half of a layer, of a process that is dead.
    Staging,
    /// What is kept of a layer for the next pull.
    Partial,
    /// A lease whose holder is gone, or one without its writable layer.
    Lease,
    /// The file of a lock that stands for nothing.
    Lock,
    /// What was deleted and is still counted.
    Trash,
    /// An entry of the journal of collection.
    Journal,
}

impl Fault {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Directory => "directory",
            Fault::Records => "records",
            Fault::Copy => "copy",
            Fault::Image => "image",
            Fault::Layer => "layer",
            Fault::Split => "split",
            Fault::Orphan => "orphan",
            Fault::Staging => "staging",
            Fault::Partial => "partial",
            Fault::Lease => "lease",
            Fault::Lock => "lock",
            Fault::Trash => "trash",
            Fault::Journal => "journal",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind of thing.
    pub fault: Fault,
    /// Which one: a digest, an id, a holder, or a path in the store.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Opening the store does it.
    Open,
    /// Nothing that would not be a guess.
    Nothing(&'static str),
    /// The database is set aside and made anew from the copies.
    Renew,
    /// Rows that cannot be read are deleted: the table, and their condition with its value.
    Delete(&'static str, &'static str, String),
    /// Nobody else may get in, and it is ours.
    Close(PathBuf, u32),
    SaveCopy(ImageId),
    /// Its config comes from its copy; without one it is forgotten.
    Config(ImageId),
    /// Its layers are those of its config.
    Layers(ImageId),
    /// It is fetched for an image that has it, or dropped if none has.
    Fetch(LayerKey),
    Release(Holder),
    /// A file that nothing needs.
    File(PathBuf),
    /// The file of a lock of this name.
    Lock(String),
    /// Images that were removed and that nobody holds.
    Unheld,
    Trash,
}

/// With what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub finding: Finding,
    pub remedy: Remedy,
}

/// Ids of the containers on record, of whatever process; or why nobody can tell.
pub type Containers = Arc<dyn Fn() -> Result<BTreeSet<String>, String> + Send + Sync>;

/// The layers whose content is hashed.
#[derive(Clone, Debug)]
pub(crate) enum Hash {
    No,
    All,
    These(BTreeSet<LayerKey>),
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub found: Vec<Found>,
    /// What is not wrong and should be known.
    pub notes: BTreeSet<String>,
    /// Layers that were hashed.
    pub hashed: usize,
}

impl Look {
    fn add(&mut self, fault: Fault, object: impl ToString, what: impl ToString, remedy: Remedy) {
        let finding = Finding { fault, object: object.to_string(), what: what.to_string() };
        self.found.push(Found { finding, remedy });
    }

    fn note(&mut self, text: String) {
        self.notes.insert(text);
    }
}

/// The store, as it is looked at.
struct Store<'a> {
    root: &'a Path,
    look: Look,
}

/// Looks at the store in `root`; blocks.
///
/// # Errors
/// `Unavailable` where the records cannot be read now or are of another version; else of the disk.
/// What is wrong with the store is none.
pub(crate) fn look(root: &Path, containers: &Containers, hash: &Hash) -> Result<Look> {
    match std::fs::symlink_metadata(root) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Error::invalid("not a directory")).context(root.display()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let notes = BTreeSet::from([format!("{}: there is no store", root.display())]);
            return Ok(Look { notes, ..Look::default() });
        }
        Err(e) => return Err(e).context(root.display()),
    }
    let records = rows::Records::open(root)?;
    let structure = || -> Result<Look> {
        let mut store = Store { root, look: Look::default() };
        store.look.found.extend(records.fault().cloned());
        files::places(&mut store)?;
        if let Some(db) = records.db() {
            rows::check(&mut store, db)?;
            leases::check(&mut store, db, containers)?;
            files::check(&mut store, db)?;
        }
        Ok(store.look)
    };
    let mut seen = structure()?;
    if !seen.found.is_empty() {
        let again = structure()?;
        seen.found.retain(|one| again.found.contains(one));
    }
    if let Some(db) = records.db() {
        contents(root, db, hash, &mut seen)?;
    }
    seen.found.sort_by(|a, b| a.finding.cmp(&b.finding));
    Ok(seen)
}

/// Hashes the layers that are there.
fn contents(root: &Path, db: &Connection, hash: &Hash, look: &mut Look) -> Result<()> {
    let known: BTreeMap<LayerKey, (u64, Format)> = match hash {
        Hash::No => return Ok(()),
        _ => rows::durable_layers(db)?.into_iter().collect(),
    };
    for (key, (size, format)) in known {
        // A layer of directories is made of the others, and has no digest of its own.
        let Some(diff_id) = key.diff_id() else { continue };
        let is_meant = match hash {
            Hash::These(these) => these.contains(&key),
            _ => true,
        };
        let (folder, split) = (root.join("layers").join(key.as_str()), split_of(root, &key));
        let is_there = folder.is_dir() && (size == 0 || split.is_file());
        if !is_meant || !is_there {
            continue;
        }
        look.hashed += 1;
        let state = verify::of_layer(&Stored { format, folder, split }, &diff_id);
        let state = state.context(format_args!("verify layer {diff_id}"))?;
        let verify::LayerState::Damaged(why) = state else { continue };
        // It may have been fetched anew, or removed, while it was read.
        let is_here = rows::layers(db)?.iter().any(|(other, _)| *other == key);
        if is_here && !is_held(root, key.as_str())? {
            look.add(Fault::Layer, &diff_id, why, Remedy::Fetch(key));
        }
    }
    Ok(())
}

fn split_of(root: &Path, key: &LayerKey) -> PathBuf {
    root.join("splits").join(key.as_str())
}

/// Whether somebody works on what has this name.
fn is_held(root: &Path, name: &str) -> Result<bool> {
    match Lock::is_held(&root.join("locks"), name) {
        // Of what is no lock at all something is said elsewhere.
        Err(e) if e.kind() == Kind::Invalid => Ok(false),
        held => held,
    }
}

/// How a layer is called for a person.
fn shown(key: &LayerKey) -> String {
    key.diff_id().map_or_else(|| key.to_string(), |id| id.to_string())
}

/// Names in a folder of the store; none if it is missing, which is said elsewhere.
fn names(root: &Path, folder: &str) -> Result<Vec<String>> {
    let path = root.join(folder);
    let entries = match std::fs::read_dir(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        entries => entries.context(path.display())?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(path.display())?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
