//! Folders of such files, and which of them has a device.

use super::file::{self, Content, Device};
use super::name::Name;
use crate::error::{Context, Error, Kind, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that was read.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// The files of a folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    specs: Vec<Spec>,
    /// Why others could not be read.
    broken: Vec<Error>,
}

/// A device and the file that it is in.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) spec: &'a Spec,
    pub(super) device: &'a Device,
}

/// Reads `*.json` and `*.yaml` of a folder, in the order of their names. One that is not there has
/// none.
pub(super) fn read(dir: &Path) -> Result<Folder> {
    let what = || format!("read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Folder::default()),
        entries => entries.context(what)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.context(what)?.path();
        if path.extension().is_some_and(|kind| kind == "json" || kind == "yaml") && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut folder = Folder::default();
    for path in paths {
        match file::read(&path) {
            Ok(content) => folder.specs.push(Spec { path, content }),
            Err(error) => folder.broken.push(error),
        }
    }
    Ok(folder)
}

/// Why files of these folders could not be read.
pub(super) fn broken(folders: &[Folder]) -> Vec<String> {
    folders.iter().flat_map(|folder| &folder.broken).map(Error::to_string).collect()
}

/// The device in the last of the folders that has it.
///
/// # Errors
/// Where it is in none, with what is wrong with files that it may be in; where it is twice in the
/// last one that has it, with both files.
pub(super) fn find<'a>(folders: &'a [Folder], name: &Name) -> Result<Found<'a>> {
    for folder in folders.iter().rev() {
        let of_kind = folder.specs.iter().filter(|spec| spec.content.kind == name.kind);
        let mut found = of_kind.filter_map(|spec| {
            let device = spec.content.devices.iter().find(|device| device.name == name.device)?;
            Some(Found { spec, device })
        });
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => {
                let (one, other) = (one.spec.path.display(), other.spec.path.display());
                let text = format!("CDI device {name}: both {one} and {other} have it");
                return Err(Error::invalid(text));
            }
            (Some(found), None) => return Ok(found),
            (None, _) => {}
        }
    }
    let broken = broken(folders);
    let text = match broken.is_empty() {
        true => format!("CDI device {name}: no spec has it"),
        false => {
            format!("CDI device {name}: no spec that can be read has it: {}", broken.join("; "))
        }
    };
    Err(Error::new(Kind::NotFound, text))
}
