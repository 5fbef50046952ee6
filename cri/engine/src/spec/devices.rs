//! Devices of the host in a container: nodes and rules.

use crate::error::{Context, Error, Kind, Result};
use crate::model::DeviceSpec;
use nix::sys::stat::{SFlag, major, minor};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How many levels of folders are looked for nodes. A folder that a client names may be a
/// container's to make; no driver's has more than a few.
const DEPTH: usize = 32;

/// A device node of the host, as a container is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Where in the container.
    pub(crate) path: String,
    /// `c` or `b`.
    pub(crate) kind: char,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of `rwm`.
    pub(crate) access: String,
}

impl HostDevice {
    pub(crate) fn node(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind.to_string(), "major": self.major,
            "minor": self.minor, "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }

    pub(crate) fn rule(&self) -> Value {
        json!({
            "allow": true, "type": self.kind.to_string(), "major": self.major,
            "minor": self.minor, "access": self.access,
        })
    }
}

/// The nodes that a client asks for; a folder stands for all nodes below it.
pub(crate) fn asked(device: &DeviceSpec) -> Result<Vec<HostDevice>> {
    let access = match device.permissions.as_str() {
        "" => "rwm",
        some => some,
    };
    let target = match device.container_path.as_str() {
        "" => &device.host_path,
        some => some,
    };
    if !Path::new(&device.host_path).exists() {
        return Err(Error::not_found(format!("device {}: not found", device.host_path)));
    }
    let mut all = Vec::new();
    collect((Path::new(&device.host_path), DEPTH), target, access, &mut all)
        .context(|| format!("device {}", device.host_path))?;
    if all.is_empty() {
        return Err(Error::invalid(format!("device {}: not a device", device.host_path)));
    }
    Ok(all)
}

/// What was asked for, and of the host's nodes those that are not in its place: a privileged
/// container finds all of them, and under other names what it asked for there.
pub(crate) fn with_host(asked: Vec<HostDevice>, mut host: Vec<HostDevice>) -> Vec<HostDevice> {
    host.retain(|node| asked.iter().all(|other| other.path != node.path));
    host.into_iter().chain(asked).collect()
}

/// Every node of the host, for a privileged container; what each container has of its own is
/// left out.
pub(crate) fn of_host(dev: &Path) -> Result<Vec<HostDevice>> {
    let mut all = Vec::new();
    let own = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "ptmx"];
    for entry in fs::read_dir(dev).context(|| format!("read {}", dev.display()))? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        if own.iter().all(|other| name != *other) {
            let path = entry.path();
            match collect((&path, DEPTH), &path.to_string_lossy(), "rwm", &mut all) {
                Err(error) if error.kind() == Kind::Invalid => return Err(error),
                // One that goes away meanwhile is not there.
                _ => {}
            }
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Adds the node at a path of the host, or the nodes below it in so many levels of folders.
fn collect(
    (host, depth): (&Path, usize),
    target: &str,
    access: &str,
    all: &mut Vec<HostDevice>,
) -> Result<()> {
    // A link is followed where the client named it, not while all of /dev is walked: there it
    // leads to a node that is met anyway.
    let metadata = fs::metadata(host).context(|| format!("stat {}", host.display()))?;
    if metadata.is_dir() {
        let Some(depth) = depth.checked_sub(1) else {
            let text = format!("{}: more than {DEPTH} levels of folders", host.display());
            return Err(Error::invalid(text));
        };
        for entry in fs::read_dir(host).context(|| format!("read {}", host.display()))? {
            let entry = entry.context(|| format!("read {}", host.display()))?;
            let below = entry.file_type().context(|| format!("stat {}", entry.path().display()))?;
            if !below.is_symlink() {
                let target = format!("{target}/{}", entry.file_name().to_string_lossy());
                collect((&entry.path(), depth), &target, access, all)?;
            }
        }
        return Ok(());
    }
    let kind = match SFlag::from_bits_truncate(metadata.mode() & SFlag::S_IFMT.bits()) {
        SFlag::S_IFCHR => 'c',
        SFlag::S_IFBLK => 'b',
        _ => return Ok(()),
    };
    all.push(HostDevice {
        path: target.to_owned(),
        kind,
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    });
    Ok(())
}

/// Rules of a container: nothing but what follows; a privileged one gets everything.
pub(crate) fn rules(privileged: bool, devices: &[HostDevice]) -> Vec<Value> {
    if privileged {
        return vec![json!({"allow": true, "access": "rwm"})];
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    // What every container may use is the runtime's own business; tun is what peers add.
    rules.push(json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"}));
    rules.extend(devices.iter().map(HostDevice::rule));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_devices_is_looked_into_so_deep_and_a_deeper_one_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let asked_for = || {
            let host_path = folder.path().to_string_lossy().into_owned();
            asked(&DeviceSpec { host_path, ..DeviceSpec::default() }).unwrap_err().to_string()
        };
        let deepest: std::path::PathBuf =
            (1..DEPTH).fold(folder.path().into(), |path, _| path.join("d"));
        fs::create_dir_all(&deepest).unwrap();
        assert!(asked_for().ends_with("not a device"), "{}", asked_for());
        fs::create_dir(deepest.join("d")).unwrap();
        let expected = format!("{}: more than 32 levels of folders", deepest.join("d").display());
        assert!(asked_for().ends_with(&expected), "{}", asked_for());
        let mut all = Vec::new();
        assert!(collect((folder.path(), DEPTH), "", "rwm", &mut all).is_err());
    }
}
