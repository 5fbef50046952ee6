//! One file with devices of one kind: JSON, or YAML.

use super::name::{is_device, is_kind};
use crate::error::{Context, Error, Result};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::fmt::Display;
use std::io::{self, Read};
use std::path::Path;

/// The versions of the specification that are known.
const VERSIONS: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// When a hook may run.
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The largest file that is read, bytes.
const MOST: u64 = 4 << 20;

/// What a file says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Content {
    cdi_version: String,
    pub(super) kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: IgnoredAny,
    pub(super) devices: Vec<Device>,
    /// What a container is given with any of the devices.
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, rename = "annotations")]
    _annotations: IgnoredAny,
    pub(super) container_edits: ContainerEdits,
}

/// What a container is given.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ContainerEdits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<Mount>,
    #[serde(rename = "additionalGids")]
    pub(super) gids: Vec<u32>,
    pub(super) hooks: Vec<Hook>,
    pub(super) net_devices: Vec<IgnoredAny>,
    pub(super) intel_rdt: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    #[serde(default)]
    pub(super) host_path: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) major: u64,
    #[serde(default)]
    pub(super) minor: u64,
    pub(super) file_mode: Option<u32>,
    #[serde(default)]
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A program that is run while the container is made, started or removed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

/// Reads a file.
///
/// # Errors
/// With its path, and the line and the key that is wrong.
pub(super) fn read(path: &Path) -> Result<Content> {
    let what = || format!("CDI spec {}", path.display());
    let mut text = String::new();
    let read = rrun_sys::in_root::open_regular_of_host(path)
        .and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    let length = read.context(what)?;
    if length as u64 > MOST {
        return Err(Error::os(what(), &io::Error::from_raw_os_error(nix::libc::EFBIG)));
    }
    let content: Content = match path.extension() {
        Some(kind) if kind == "json" => json(&text),
        _ => yaml(&text),
    }
    .context(what)?;
    check(&content).context(what)?;
    Ok(content)
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // Its errors say on which line.
    let content = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| at(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| at(".", &error))?;
    Ok(content)
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T> {
    // Other runtimes read YAML 1.1, where 0666 is what chmod takes it for.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    let mut key = String::new();
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        serde_path_to_error::deserialize(reader).map_err(|error| {
            key = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| at(&key, &error))
}

/// Whatever is wrong with one key.
fn at(key: &str, error: &impl Display) -> Error {
    let error = Error::invalid(error.to_string());
    match key {
        "" | "." | "?" => error,
        key => error.context(key),
    }
}

/// What a type does not say.
fn check(content: &Content) -> Result<()> {
    let Content { cdi_version, kind, devices, .. } = content;
    if !VERSIONS.contains(&cdi_version.as_str()) {
        let known = format!("known are {} to {}", VERSIONS[0], VERSIONS[VERSIONS.len() - 1]);
        return Err(Error::invalid(format!("cdiVersion: {cdi_version:?}: {known}")));
    }
    if !is_kind(kind) {
        return Err(Error::invalid(format!("kind: {kind:?} is not vendor.com/class")));
    }
    for (at, device) in devices.iter().enumerate() {
        let name = &device.name;
        if !is_device(name) {
            return Err(Error::invalid(format!("devices[{at}].name: {name:?} is no name")));
        }
        if devices.iter().take(at).any(|other| other.name == *name) {
            return Err(Error::invalid(format!("devices[{at}].name: {name} stands twice")));
        }
        edits(&device.container_edits).context(|| format!("devices[{at}].containerEdits"))?;
    }
    edits(&content.container_edits).context(|| "containerEdits")
}

fn edits(edits: &ContainerEdits) -> Result<()> {
    for (at, var) in edits.env.iter().enumerate() {
        if var.find('=').is_none_or(|end| end == 0) || var.contains('\0') {
            return Err(Error::invalid(format!("env[{at}]: {var:?} is not NAME=VALUE")));
        }
    }
    for (at, node) in edits.device_nodes.iter().enumerate() {
        let wrong = |key, value| Err(Error::invalid(format!("deviceNodes[{at}].{key}: {value:?}")));
        if !Path::new(&node.path).is_absolute() {
            return wrong("path", &node.path);
        }
        if !["", "b", "c", "u", "p"].contains(&node.kind.as_str()) {
            return wrong("type", &node.kind);
        }
        if !node.permissions.chars().all(|c| "rwm".contains(c)) {
            return wrong("permissions", &node.permissions);
        }
    }
    for (at, hook) in edits.hooks.iter().enumerate() {
        let wrong = |key, value| Err(Error::invalid(format!("hooks[{at}].{key}: {value:?}")));
        if !HOOKS.contains(&hook.hook_name.as_str()) {
            return wrong("hookName", &hook.hook_name);
        }
        if !Path::new(&hook.path).is_absolute() {
            return wrong("path", &hook.path);
        }
        if let Some(var) = hook.env.iter().find(|var| var.find('=').is_none_or(|end| end == 0)) {
            return wrong("env", var);
        }
    }
    for (at, mount) in edits.mounts.iter().enumerate() {
        if !Path::new(&mount.container_path).is_absolute() {
            let path = &mount.container_path;
            return Err(Error::invalid(format!("mounts[{at}].containerPath: {path:?}")));
        }
    }
    Ok(())
}
