//! Whether groups can be a new container's.

use super::{freeze, members};
use crate::plan::{CgroupDir, Cgroups};
use crate::{Context, Error, Kind, Result};
use std::path::Path;

/// The directories that are not there yet: a container that is made now makes them, and they are
/// its own to remove. One that is there already may be used when nobody is in it; it stays when
/// the container goes.
///
/// # Errors
/// `Exists` when a directory that is there holds processes, or when it or one above it is frozen:
/// the former are somebody else's, and in the latter a container would never come to its start.
pub fn missing(groups: &Cgroups) -> Result<Vec<CgroupDir>> {
    let mut missing = Vec::new();
    for dir in &groups.dirs {
        let there = dir.path.ancestors().find(|path| path.exists());
        if let Some(there) = there
            && may_freeze(groups, dir)
        {
            check_thawed(there, dir.unified)?;
        }
        match there == Some(dir.path.as_path()) {
            true => check_empty(&dir.path)?,
            false => missing.push(dir.clone()),
        }
    }
    Ok(missing)
}

/// A directory that is there and nobody is in.
///
/// # Errors
/// `Exists` when it holds processes.
pub(super) fn check_empty(dir: &Path) -> Result<()> {
    if members::all(dir)?.is_empty() {
        return Ok(());
    }
    let text = format!("{} holds processes of somebody else", dir.display());
    Err(Error::new(Kind::Exists, text))
}

/// Whether what is in a group might be frozen by it. Where a hierarchy has the freezer's name, the
/// others of v1 have none.
pub(super) fn may_freeze(groups: &Cgroups, dir: &CgroupDir) -> bool {
    let named = |dir: &CgroupDir| !dir.unified && freeze::is_named_freezer(&dir.path);
    dir.unified || named(dir) || !groups.dirs.iter().any(named)
}

/// A directory that is there and in which a process would run.
///
/// # Errors
/// `Exists` when it or one above it is frozen.
pub(super) fn check_thawed(dir: &Path, unified: bool) -> Result<()> {
    let frozen = frozen(dir, unified).context(|| format!("look at {}", dir.display()))?;
    let Some(frozen) = frozen else { return Ok(()) };
    Err(Error::new(Kind::Exists, format!("{} is frozen", frozen.display())))
}

/// The directory that freezes what is in `dir`: itself or one above it.
fn frozen(dir: &Path, unified: bool) -> Result<Option<&Path>> {
    if unified {
        // The root of the hierarchy cannot be frozen and has no such file.
        for path in dir.ancestors() {
            match std::fs::read(path.join("cgroup.freeze")) {
                Ok(text) if text.starts_with(b"1") => return Ok(Some(path)),
                Ok(_) => {}
                Err(error) if members::is_gone(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(None);
    }
    // v1 tells the state that is in force, whoever has asked for it.
    match std::fs::read(dir.join("freezer.state")) {
        Ok(text) if !text.starts_with(b"THAWED") => Ok(Some(dir)),
        Err(error) if !members::is_gone(&error) => Err(error.into()),
        _ => Ok(None),
    }
}
