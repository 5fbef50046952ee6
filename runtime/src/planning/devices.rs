//! Device nodes: those that every container has, and those that its configuration adds.

use super::{invalid, paths};
use crate::Result;
use crate::plan::{Device, Link};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};

/// Nodes and links.
#[derive(Debug, Default)]
pub struct Devices {
    pub nodes: Vec<Device>,
    pub links: Vec<Link>,
}

/// What runtime-spec wants in every container: name, major, minor.
const DEFAULT: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub fn plan(spec: &Spec) -> Result<Devices> {
    let mut devices = Devices::default();
    // A /dev that is bound from the host is the host's: it gets nothing.
    if binds_dev(spec)? {
        return Ok(devices);
    }
    let listed = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref());
    for entry in listed.unwrap_or_default() {
        let device = node(entry)?;
        match devices.nodes.iter().find(|other| other.path == device.path) {
            None => devices.nodes.push(device),
            Some(other) if *other == device => {}
            Some(_) => {
                let path = device.path;
                return Err(invalid(format!("linux.devices: {path} is there twice")));
            }
        }
    }
    for (path, major, minor) in DEFAULT {
        if devices.nodes.iter().all(|node| node.path != path) {
            let (mode, rdev) = (libc::S_IFCHR | 0o666, makedev(major, minor));
            devices.nodes.push(Device { path: path.to_owned(), mode, rdev, uid: 0, gid: 0 });
        }
    }
    let links = LINKS.iter().filter(|(path, _)| devices.nodes.iter().all(|n| n.path != *path));
    devices.links = links
        .map(|(path, target)| Link { path: (*path).to_owned(), target: (*target).to_owned() })
        .collect();
    Ok(devices)
}

fn binds_dev(spec: &Spec) -> Result<bool> {
    for mount in spec.mounts().iter().flatten() {
        let options = mount.options().as_deref().unwrap_or_default();
        let bind = mount.typ().as_deref() == Some("bind")
            || options.iter().any(|option| option == "bind" || option == "rbind");
        if bind && paths::inside(mount.destination(), "mounts.destination")? == "/dev" {
            return Ok(true);
        }
    }
    Ok(false)
}

fn node(entry: &LinuxDevice) -> Result<Device> {
    let path = paths::inside(entry.path(), "linux.devices.path")?;
    let kind = match entry.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(invalid(format!("linux.devices: {path}: type `a` is for rules")));
        }
    };
    let part = |number: i64| u64::try_from(number).ok().filter(|n| *n < 1 << 20);
    let rdev = match (kind, part(entry.major()), part(entry.minor())) {
        (libc::S_IFIFO, _, _) => 0,
        (_, Some(major), Some(minor)) if major < 1 << 12 => makedev(major, minor),
        _ => return Err(invalid(format!("linux.devices: {path}: no such device number"))),
    };
    Ok(Device {
        mode: kind | entry.file_mode().map_or(0o666, |mode| mode & 0o7777),
        rdev,
        uid: entry.uid().unwrap_or(0),
        gid: entry.gid().unwrap_or(0),
        path,
    })
}

/// makedev(3) as the kernel encodes it.
fn makedev(major: u64, minor: u64) -> u64 {
    (major & 0xfff) << 8 | minor & 0xff | (minor & !0xff) << 12
}
