//! What a file says of a container, with what the host has of it.

use super::file::{ContainerEdits, DeviceNode, Hook, Mount};
use crate::error::{Context, Error, Result};
use crate::host_paths::Look;
use crate::spec::devices::HostDevice;
use nix::sys::stat::{SFlag, major, minor};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the files of the node say of the devices that a container asks for.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    pub(super) edits: Vec<Edits>,
    /// Why other files could not be read.
    pub(crate) broken: Vec<String>,
}

/// What a container is given.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) devices: Vec<Node>,
    pub(super) mounts: Vec<Value>,
    pub(super) gids: Vec<u32>,
    /// Each with when it runs.
    pub(super) hooks: Vec<(String, Value)>,
}

/// A device node, whose owner may be the process' user.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) device: HostDevice,
    /// As the file says it.
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// Looks up what edits leave to the host.
///
/// # Errors
/// With the key that is to blame.
pub(super) fn look_up(look: &Look, edits: &ContainerEdits) -> Result<Edits> {
    let unsupported =
        [("netDevices", !edits.net_devices.is_empty()), ("intelRdt", edits.intel_rdt.is_some())];
    if let Some((key, _)) = unsupported.iter().find(|(_, is_there)| *is_there) {
        let text = format!("containerEdits.{key}: not supported by this release");
        return Err(Error::invalid(text));
    }
    let mut all = Edits {
        env: edits.env.clone(),
        gids: edits.gids.clone(),
        hooks: edits.hooks.iter().map(hook).collect(),
        ..Edits::default()
    };
    for (at, node) in edits.device_nodes.iter().enumerate() {
        let path = if node.host_path.is_empty() { &node.path } else { &node.host_path };
        let found = look.at(path, || self::node(node, Path::new(path)));
        all.devices.push(found.context(|| format!("containerEdits.deviceNodes[{at}]"))?);
    }
    for (at, mount) in edits.mounts.iter().enumerate() {
        let found = look.at(&mount.host_path, || self::mount(mount));
        all.mounts.push(found.context(|| format!("containerEdits.mounts[{at}]"))?);
    }
    Ok(all)
}

/// As the configuration has it.
fn hook(hook: &Hook) -> (String, Value) {
    let mut value = json!({"path": hook.path});
    if !hook.args.is_empty() {
        value["args"] = json!(hook.args);
    }
    if !hook.env.is_empty() {
        value["env"] = json!(hook.env);
    }
    // 0 is none, as CDI's own library has it.
    if let Some(seconds) = hook.timeout.filter(|seconds| *seconds > 0) {
        value["timeout"] = json!(seconds);
    }
    (hook.hook_name.clone(), value)
}

/// The numbers and the type come from the file or from the host; the mode likewise.
fn node(node: &DeviceNode, host: &Path) -> Result<Node> {
    let letter = match node.kind.as_str() {
        "u" => Some('c'),
        kind => kind.chars().next(),
    };
    let mut device = HostDevice {
        path: node.path.clone(),
        kind: letter.unwrap_or('c'),
        major: node.major,
        minor: node.minor,
        mode: node.file_mode.unwrap_or(0o666) & 0o7777,
        uid: 0,
        gid: 0,
        access: if node.permissions.is_empty() { "rwm".into() } else { node.permissions.clone() },
    };
    let is_whole = letter.is_some_and(|kind| kind == 'p' || node.major != 0);
    if !is_whole {
        let metadata = fs::metadata(host).context(|| format!("stat {}", host.display()))?;
        let on_host = match SFlag::from_bits_truncate(metadata.mode() & SFlag::S_IFMT.bits()) {
            SFlag::S_IFCHR => 'c',
            SFlag::S_IFBLK => 'b',
            SFlag::S_IFIFO => 'p',
            _ => return Err(Error::invalid(format!("{}: not a device", host.display()))),
        };
        if letter.is_some_and(|letter| letter != on_host) {
            let text = format!("{} is of type {on_host}, not {}", host.display(), node.kind);
            return Err(Error::invalid(text));
        }
        device = HostDevice {
            kind: on_host,
            major: major(metadata.rdev()),
            minor: minor(metadata.rdev()),
            mode: node.file_mode.unwrap_or(metadata.mode()) & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            ..device
        };
    }
    Ok(Node { device, uid: node.uid, gid: node.gid })
}

/// A mount without a type is one of a path of the host, which must be there: it is a driver's own.
fn mount(mount: &Mount) -> Result<Value> {
    let mut options = mount.options.clone();
    let bind = ["bind", "rbind"];
    let is_bind = options.iter().any(|option| bind.contains(&option.as_str()));
    let kind = match mount.kind.as_str() {
        "" | "none" | "bind" => "bind",
        other if is_bind => other,
        other => {
            return Ok(json!({
                "destination": mount.container_path, "type": other, "source": mount.host_path,
                "options": options,
            }));
        }
    };
    fs::metadata(&mount.host_path).context(|| format!("hostPath: stat {}", mount.host_path))?;
    if !is_bind {
        options.insert(0, "rbind".to_owned());
    }
    Ok(json!({
        "destination": mount.container_path, "type": kind, "source": mount.host_path,
        "options": options,
    }))
}
