//! The control groups of a container: where they are and what is written to them.

use super::{Host, Overrides, invalid, resources};
use crate::cgroup::{Controllers, Resources};
use crate::plan::Cgroups;
use crate::systemd::Scope;
use crate::{Context, Result};
use oci_spec::runtime::Linux;
use std::path::{Component, Path, PathBuf};

pub fn plan(linux: &Linux, host: &Host, over: &Overrides) -> Result<Cgroups> {
    let asked = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    if asked.is_some() && host.cgroups.is_none() {
        return Err(invalid("linux.cgroupsPath: no control groups are mounted on this host"));
    }
    let path = match scope(linux, over)? {
        Some(scope) => Some(scope.path()),
        None => {
            let path = asked.or(over.cgroup.as_deref().map(Path::new));
            path.map(relative).transpose()?
        }
    };
    let (mut dirs, mut controllers) = (Vec::new(), Controllers::default());
    if let (Some(layout), Some(path)) = (&host.cgroups, path) {
        dirs = layout.dirs(&path);
        controllers = Controllers::find(layout, &dirs);
    }
    let resources = resources::created(linux.resources().as_ref(), host)?;
    let groups = Resources::default().plan(&resources, &dirs, &controllers)?;
    Ok(Cgroups { asked: over.systemd, ..groups })
}

/// The scope that a container is to be, where control groups are systemd's.
pub fn scope(linux: &Linux, over: &Overrides) -> Result<Option<Scope>> {
    if !over.systemd {
        return Ok(None);
    }
    let asked = linux.cgroups_path().as_deref().and_then(Path::to_str);
    let text = asked.filter(|path| !path.is_empty()).or(over.cgroup.as_deref());
    let scope = Scope::parse(text.unwrap_or_default());
    scope.map(Some).context(|| "linux.cgroupsPath")
}

/// `cgroupsPath` below the hierarchies' roots.
fn relative(path: &Path) -> Result<PathBuf> {
    let text = path.to_str().unwrap_or_default();
    if !path.is_absolute() && text.matches(':').count() == 2 {
        return Err(invalid(format!(
            "linux.cgroupsPath: {text:?} is for the systemd driver, and the driver is cgroupfs"
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
            "linux.cgroupsPath: {slice} is a slice of systemd, and not where systemd has it; the \
             driver is cgroupfs"
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
