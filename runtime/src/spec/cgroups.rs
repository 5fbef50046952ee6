//! The control groups of a container: where they are and what is written to them.

use super::{Host, Overrides, invalid, resources};
use crate::Result;
use crate::cgroup::{Controllers, Resources};
use crate::plan::Cgroups;
use oci_spec::runtime::Linux;
use std::path::{Component, Path, PathBuf};

pub fn plan(linux: &Linux, host: &Host, over: &Overrides) -> Result<Cgroups> {
    let asked = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    if asked.is_some() && host.cgroups.is_none() {
        return Err(invalid("linux.cgroupsPath: no control groups are mounted on this host"));
    }
    let path = asked.or(over.cgroup.as_deref().map(Path::new));
    let (mut dirs, mut controllers) = (Vec::new(), Controllers::default());
    if let (Some(layout), Some(path)) = (&host.cgroups, path) {
        dirs = layout.dirs(&relative(path)?);
        controllers = Controllers::find(layout, &dirs);
    }
    let resources = resources::created(linux.resources().as_ref(), host)?;
    Resources::default().plan(&resources, &dirs, &controllers)
}

/// `cgroupsPath` below the hierarchies' roots.
fn relative(path: &Path) -> Result<PathBuf> {
    let text = path.to_str().unwrap_or_default();
    if !path.is_absolute() && text.matches(':').count() == 2 {
        return Err(invalid(format!(
            "linux.cgroupsPath: {text:?} is for the systemd driver, which is not supported"
        )));
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                return Err(invalid(format!("linux.cgroupsPath: {path:?} has `..`")));
            }
            _ => {}
        }
    }
    if plain.as_os_str().is_empty() {
        return Err(invalid("linux.cgroupsPath: the root group is the host's"));
    }
    if let Some(slice) = misplaced_slice(&plain) {
        return Err(invalid(format!(
            "linux.cgroupsPath: {slice} is a slice of systemd, whose driver is not supported, and \
             not where systemd has it"
        )));
    }
    Ok(plain)
}

/// The first part of a path that names a slice of systemd and is not below the slice that
/// systemd keeps it in (`a-b.slice` in `a.slice`): a caller of the systemd driver has given it,
/// and a directory of that name would be in nobody's tree.
pub fn misplaced_slice(path: &Path) -> Option<&str> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let parts = parts.into_iter().filter(|part| *part != "/");
    let mut above = "";
    for part in parts {
        if let Some((parent, _)) = part.strip_suffix(".slice").and_then(|n| n.rsplit_once('-'))
            && !parent.is_empty()
            && above.strip_suffix(".slice") != Some(parent)
        {
            return Some(part);
        }
        above = part;
    }
    None
}
