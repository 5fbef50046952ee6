//! What cannot be asked of a container.

use super::{check_userns, text};
use crate::config::Lsm;
use crate::error::{Context, Error, Result};
use crate::handlers::Handlers;
use crate::model::{
    ContainerConfig, ContainerSecurity, ImageSpec, MountPropagation, MountSpec, NamespaceMode,
    PodConfig, Resources,
};
use crate::spec;
use rrun_sys::fdpass::MAX_FDS;
use std::path::{Component, Path};

/// How many mounts of a container may be images: they go to the shim with its root file system, and
/// maybe with a PID namespace.
const IMAGES_MAX: usize = MAX_FDS - 2;

/// Refuses a container that makes no sense in its pod, and what this release or this host cannot
/// do.
///
/// # Errors
/// `Invalid`, with the name of the field.
pub fn container(
    pod: &PodConfig,
    config: &ContainerConfig,
    lsm: &Lsm,
    handlers: &Handlers,
) -> Result<()> {
    if config.name.is_empty() {
        return Err(Error::invalid("a container needs a name"));
    }
    if config.image.image.is_empty() {
        return Err(Error::invalid("no image given"));
    }
    super::handler(handlers, &config.image.runtime_handler, "image.runtime_handler")?;
    text::of_container(pod, config)?;
    check_devices(config)?;
    if config.envs.iter().any(|var| var.name.contains(['=', '\0']) || var.value.contains(&0)) {
        let message = "envs: a variable's name has `=` or NUL, or its value has NUL";
        return Err(Error::invalid(message));
    }
    let log = Path::new(&config.log_path);
    if log.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        let message = "leaves the log directory of the pod";
        return Err(Error::invalid(format!("log_path {:?} {message}", config.log_path)));
    }
    if let Some(limits) = &config.resources {
        self::limits(limits)?;
    }
    let images = config.mounts.iter().filter(|mount| mount.image.is_some()).count();
    if images > IMAGES_MAX {
        let message = format!("mounts: {images} are images, and {IMAGES_MAX} may be");
        return Err(Error::invalid(message));
    }
    for mount in &config.mounts {
        check_mount(pod, mount, handlers).context(|| format!("mount {}", mount.container_path))?;
    }
    check_security(pod, &config.security, lsm)
}

fn check_devices(config: &ContainerConfig) -> Result<()> {
    // They are looked up when it is made.
    spec::cdi_devices(config)?;
    for device in &config.devices {
        if !device.permissions.chars().all(|c| "rwm".contains(c)) {
            let message = format!("device {}: permissions", device.host_path);
            return Err(Error::invalid(format!("{message} {:?}", device.permissions)));
        }
    }
    Ok(())
}

fn check_security(pod: &PodConfig, security: &ContainerSecurity, lsm: &Lsm) -> Result<()> {
    let named = !security.run_as_username.is_empty();
    if security.run_as_user.is_some() && named {
        return Err(Error::invalid("run_as_user and run_as_username: at most one of them"));
    }
    if security.run_as_group.is_some() && security.run_as_user.is_none() && !named {
        return Err(Error::invalid("run_as_group without run_as_user or run_as_username"));
    }
    if security.privileged && !pod.security.privileged {
        return Err(Error::invalid("a privileged container needs a privileged pod"));
    }
    check_namespaces(pod, security)?;
    spec::refuse_selinux(security.selinux.as_ref(), lsm)?;
    spec::apparmor(security, lsm).map(drop)
}

/// A container has the network and the IPC of its pod. `Pod` is what a client sends that says
/// nothing, so that it means whatever the pod has.
fn check_namespaces(pod: &PodConfig, security: &ContainerSecurity) -> Result<()> {
    let (asked, has) = (&security.namespaces, &pod.security.namespaces);
    for (name, asked, has) in [("network", asked.network, has.network), ("ipc", asked.ipc, has.ipc)]
    {
        if asked != NamespaceMode::Pod && asked != has {
            let message = format!("namespace_options.{name} {asked:?}: the pod has {has:?}");
            return Err(Error::invalid(message));
        }
    }
    let targets = asked.pid == NamespaceMode::Target;
    if targets == asked.target_id.is_empty() {
        let message = format!("namespace_options.target_id {:?}", asked.target_id);
        return Err(Error::invalid(format!("{message} with pid {:?}", asked.pid)));
    }
    let Some(userns) = &asked.userns else { return Ok(()) };
    if userns.mode != NamespaceMode::Node {
        check_userns(userns)?;
    }
    match asked.own_users() == has.own_users() {
        true => Ok(()),
        false => Err(Error::invalid("userns_options are not those of the pod")),
    }
}

/// Those that no file of a group takes; of a quota and of memory -1 means that there is none.
///
/// # Errors
/// `Invalid`, with the name of the field.
pub fn limits(limits: &Resources) -> Result<()> {
    for (name, value) in [("cpu_shares", limits.cpu_shares), ("cpu_period", limits.cpu_period)] {
        if value < 0 {
            return Err(Error::invalid(format!("{name} {value} is negative")));
        }
    }
    Ok(())
}

/// What is mapped is mapped as the pod's ids are: nobody inside has others.
fn check_mappings(pod: &PodConfig, mount: &MountSpec) -> Result<()> {
    let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
    if uids.is_empty() && gids.is_empty() {
        return Ok(());
    }
    let Some(own) = pod.security.namespaces.own_users() else {
        let message = "uidMappings, gidMappings: the pod has no user namespace of its own";
        return Err(Error::invalid(message));
    };
    for (field, asked, has) in [("uidMappings", uids, &own.uids), ("gidMappings", gids, &own.gids)]
    {
        if asked != has {
            return Err(Error::invalid(format!("{field} are not those of the pod")));
        }
    }
    Ok(())
}

fn check_mount(pod: &PodConfig, mount: &MountSpec, handlers: &Handlers) -> Result<()> {
    check_mappings(pod, mount)?;
    if let Some(image) = &mount.image {
        return check_image(mount, image, handlers);
    }
    if !mount.image_sub_path.is_empty() {
        return Err(Error::invalid("image_sub_path without image"));
    }
    if mount.host_path.is_empty() || mount.container_path.is_empty() {
        return Err(Error::invalid("host_path or container_path is empty"));
    }
    if !mount.host_path.starts_with('/') {
        return Err(Error::invalid(format!("host_path {:?} is not absolute", mount.host_path)));
    }
    if mount.recursive_read_only && !mount.readonly {
        return Err(Error::invalid("recursive_read_only needs readonly"));
    }
    if mount.recursive_read_only && mount.propagation != MountPropagation::Private {
        return Err(Error::invalid("recursive_read_only needs private propagation"));
    }
    Ok(())
}

/// An image is mounted as it is: nobody writes to it, and nothing is mounted in it.
fn check_image(mount: &MountSpec, image: &ImageSpec, handlers: &Handlers) -> Result<()> {
    super::handler(handlers, &image.runtime_handler, "image.runtime_handler")?;
    if image.image.is_empty() {
        return Err(Error::invalid("image: no image given"));
    }
    if !mount.host_path.is_empty() {
        return Err(Error::invalid("host_path beside image: at most one of them"));
    }
    if mount.container_path.is_empty() {
        return Err(Error::invalid("container_path is empty"));
    }
    if !mount.readonly {
        return Err(Error::invalid("readonly is false: an image is mounted read-only alone"));
    }
    // What the host mounts in it is nothing: to hear of that is not to hear of anything.
    if mount.propagation == MountPropagation::Bidirectional {
        let message = "propagation Bidirectional: nothing is mounted in an image";
        return Err(Error::invalid(message));
    }
    let path = Path::new(&mount.image_sub_path);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        let message = "is no relative path without `..`";
        return Err(Error::invalid(format!("image_sub_path {path:?} {message}")));
    }
    Ok(())
}
