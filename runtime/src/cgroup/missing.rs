//! Whether groups can be a new container's.

use super::members;
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
        if let Some(frozen) = frozen(dir).context(|| format!("look at {}", dir.path.display()))? {
            let text = format!("{} is frozen", frozen.display());
            return Err(Error::new(Kind::Exists, text));
        }
        if !dir.path.exists() {
            missing.push(dir.clone());
            continue;
        }
        if !members::all(&dir.path)?.is_empty() {
            let text = format!("{} holds processes of somebody else", dir.path.display());
            return Err(Error::new(Kind::Exists, text));
        }
    }
    Ok(missing)
}

/// The directory that freezes what is in `dir`: itself or one above it.
fn frozen(dir: &CgroupDir) -> Result<Option<&Path>> {
    let mut there = dir.path.ancestors().skip_while(|path| !path.exists());
    if dir.unified {
        // The root of the hierarchy cannot be frozen and has no such file.
        for path in there {
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
    let Some(path) = there.next() else { return Ok(None) };
    match std::fs::read(path.join("freezer.state")) {
        Ok(text) if !text.starts_with(b"THAWED") => Ok(Some(path)),
        Err(error) if !members::is_gone(&error) => Err(error.into()),
        _ => Ok(None),
    }
}
