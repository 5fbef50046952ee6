//! What cannot be asked for: refused by name, before anything is done.

use crate::config::Lsm;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{
    ContainerConfig, MountPropagation, MountSpec, NamespaceMode, PodConfig, Resources,
    UserNamespace,
};
use crate::spec::profile;
use std::path::{Component, Path};

/// Refuses what makes no sense, and what this release or this host cannot do.
pub(crate) fn check(pod: &PodConfig, config: &ContainerConfig, lsm: &Lsm) -> Result<()> {
    let security = &config.security;
    if config.name.is_empty() {
        return Err(Error::invalid("a container needs a name"));
    }
    if config.image.image.is_empty() {
        return Err(Error::invalid("no image given"));
    }
    let user = security.run_as_user.is_some() || !security.run_as_username.is_empty();
    if security.run_as_group.is_some() && !user {
        return Err(Error::invalid("run_as_group without run_as_user or run_as_username"));
    }
    if security.privileged && !pod.security.privileged {
        return Err(Error::invalid("a privileged container needs a privileged pod"));
    }
    if let Some(userns) = &security.namespaces.userns
        && userns.mode != NamespaceMode::Node
    {
        refuse_userns(userns)?;
    }
    if let Some(device) = config.cdi_devices.first() {
        return Err(unimplemented(format!("CDI device {device}")));
    }
    for device in &config.devices {
        if !device.permissions.chars().all(|c| "rwm".contains(c)) {
            let message = format!("device {}: permissions", device.host_path);
            return Err(Error::invalid(format!("{message} {:?}", device.permissions)));
        }
    }
    if config.envs.iter().any(|var| var.name.contains(['=', '\0']) || var.value.contains(&0)) {
        return Err(Error::invalid("a variable's name has `=` or NUL, or its value has NUL"));
    }
    let log = Path::new(&config.log_path);
    if log.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        let message = "leaves the log directory of the pod";
        return Err(Error::invalid(format!("log_path {:?} {message}", config.log_path)));
    }
    if let Some(limits) = &config.resources {
        check_limits(limits)?;
    }
    for mount in &config.mounts {
        check_mount(mount).context(|| format!("mount {}", mount.container_path))?;
    }
    profile::refuse_selinux(security.selinux.as_ref(), lsm)?;
    profile::apparmor(security, lsm).map(drop)
}

/// Those that no file of a group takes; of a quota and of memory -1 means that there is none.
fn check_limits(limits: &Resources) -> Result<()> {
    for (name, value) in [("cpu_shares", limits.cpu_shares), ("cpu_period", limits.cpu_period)] {
        if value < 0 {
            return Err(Error::invalid(format!("{name} {value} is negative")));
        }
    }
    Ok(())
}

fn unimplemented(what: impl Into<String>) -> Error {
    Error::new(Kind::Unimplemented, format!("{}: not supported by this release", what.into()))
}

fn check_mount(mount: &MountSpec) -> Result<()> {
    if mount.image.is_some() {
        return Err(unimplemented("image volumes"));
    }
    if mount.host_path.is_empty() || mount.container_path.is_empty() {
        return Err(Error::invalid("host_path or container_path is empty"));
    }
    if !mount.host_path.starts_with('/') {
        return Err(Error::invalid(format!("host_path {:?} is not absolute", mount.host_path)));
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(unimplemented("id-mapped mounts"));
    }
    if mount.recursive_read_only && !mount.readonly {
        return Err(Error::invalid("recursive_read_only needs readonly"));
    }
    if mount.recursive_read_only && mount.propagation != MountPropagation::Private {
        return Err(Error::invalid("recursive_read_only needs private propagation"));
    }
    Ok(())
}

/// User namespaces are refused: senseless ones as such, the others as not there yet.
pub(crate) fn refuse_userns(userns: &UserNamespace) -> Result<()> {
    if userns.mode != NamespaceMode::Pod {
        return Err(Error::invalid(format!("user namespace mode {:?}", userns.mode)));
    }
    for (name, ids) in [("uids", &userns.uids), ("gids", &userns.gids)] {
        match ids.as_slice() {
            [one] if one.container_id == 0 && one.length > 0 => {}
            [_] => return Err(Error::invalid(format!("user namespace: {name} do not start at 0"))),
            _ => {
                let count = ids.len();
                let message = format!("user namespace: {name} have {count} mappings, not one");
                return Err(Error::invalid(message));
            }
        }
    }
    Err(unimplemented("user namespaces"))
}
