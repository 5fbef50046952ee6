//! Devices by the Container Device Interface (CDI, up to version 1.1): a client names a device, and
//! files of the node say what a container is given with it.
//!
//! The files are read anew for each container that asks for such a device, so that a driver that
//! adds one is heard without a signal. As in CDI's own library, whoever is read later goes
//! before: a device of a later folder hides one of the same name, and two of one folder hide each
//! other. A file that cannot be read hurts only who asks for what could be in it.

mod edits;
mod file;
mod folders;
mod host;
mod name;

use crate::error::{Context, Result};
use crate::host_paths::Look;
use crate::model::ContainerConfig;
pub(crate) use edits::apply;
pub(crate) use host::Devices;
use name::Name;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The beginning of the keys of annotations that ask for devices.
const ANNOTATIONS: &str = "cdi.k8s.io/";

/// The devices that a container asks for, each once: by the field of the CRI, then by annotations.
///
/// # Errors
/// `Invalid`, with the field, for a name that is none.
pub(crate) fn asked(config: &ContainerConfig) -> Result<Vec<Name>> {
    let mut all: Vec<Name> = Vec::new();
    // A client chooses how many there are.
    let mut met: BTreeSet<Name> = BTreeSet::new();
    let mut add = |name: &str| -> Result<()> {
        let name: Name = name.parse()?;
        if met.insert(name.clone()) {
            all.push(name);
        }
        Ok(())
    };
    for device in &config.cdi_devices {
        add(device).context(|| "CDI_devices")?;
    }
    for (key, value) in config.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATIONS)) {
        for device in value.split(',') {
            add(device.trim()).context(|| format!("annotations: {key}"))?;
        }
    }
    Ok(all)
}

/// Looks up what the files of these folders say of the devices, and the devices on the host.
///
/// # Errors
/// With the device, and the file that is to blame.
pub(crate) fn look_up(look: &Look, config: &ContainerConfig, dirs: &[PathBuf]) -> Result<Devices> {
    find(look, &asked(config)?, dirs)
}

/// The same of devices by their names.
///
/// # Errors
/// As [`look_up`], and for a name that is none.
pub(crate) fn look_up_named(look: &Look, names: &[String], dirs: &[PathBuf]) -> Result<Devices> {
    let names: Result<Vec<Name>> = names.iter().map(|name| name.parse()).collect();
    find(look, &names?, dirs)
}

fn find(look: &Look, names: &[Name], dirs: &[PathBuf]) -> Result<Devices> {
    if names.is_empty() {
        return Ok(Devices::default());
    }
    let mut specs = Vec::new();
    for dir in dirs {
        specs.push(look.at(&dir.to_string_lossy(), || folders::read(dir))?);
    }
    let mut all = Vec::new();
    let mut met: Vec<PathBuf> = Vec::new();
    for name in names {
        let found = folders::find(&specs, name)?;
        let what = || format!("CDI device {name} ({})", found.spec.path.display());
        if !met.contains(&found.spec.path) {
            met.push(found.spec.path.clone());
            let of_all = &found.spec.content.container_edits;
            all.push(host::look_up(look, of_all).context(what)?);
        }
        all.push(host::look_up(look, &found.device.container_edits).context(what)?);
    }
    Ok(Devices { edits: all, broken: folders::broken(&specs) })
}

#[cfg(test)]
mod tests;
