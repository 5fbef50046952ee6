//! Messages about containers.

use super::security::{id_mapping, wire_id_mapping};
use super::{info, refuse_windows, resources, security, signal};
use rrun_cri_api::v1;
use rrun_engine::model::{
    ContainerConfig, DeviceSpec, EnvVar, ImageSpec, MountPropagation, MountSpec,
};
use rrun_engine::status::{ContainerFilter, ContainerItem, ContainerStatus};
use rrun_engine::{ContainerPhase, Error, Result};
use std::collections::BTreeMap;

/// `ContainerConfig`
pub fn container_config(mut wire: v1::ContainerConfig) -> Result<ContainerConfig> {
    let none = || Error::invalid("create container: its config has no metadata");
    let metadata = wire.metadata.take().ok_or_else(none)?;
    let what = format!("create container {}", metadata.name);
    with_metadata(metadata, wire).map_err(|error| error.context(what))
}

fn with_metadata(
    metadata: v1::ContainerMetadata,
    wire: v1::ContainerConfig,
) -> Result<ContainerConfig> {
    refuse_windows(wire.windows.as_ref())?;
    let linux = wire.linux.unwrap_or_default();
    let env = |env: v1::KeyValue| EnvVar { name: env.key, value: env.value };
    let device = |device: v1::Device| DeviceSpec {
        container_path: device.container_path,
        host_path: device.host_path,
        permissions: device.permissions,
    };
    Ok(ContainerConfig {
        name: metadata.name,
        attempt: metadata.attempt,
        image: image_spec(wire.image.unwrap_or_default()),
        command: wire.command,
        args: wire.args,
        working_dir: wire.working_dir,
        envs: wire.envs.into_iter().map(env).collect(),
        mounts: wire.mounts.into_iter().map(mount).collect::<Result<_>>()?,
        devices: wire.devices.into_iter().map(device).collect(),
        cdi_devices: wire.cdi_devices.into_iter().map(|device| device.name).collect(),
        labels: wire.labels,
        annotations: wire.annotations,
        log_path: wire.log_path,
        stdin: wire.stdin,
        stdin_once: wire.stdin_once,
        tty: wire.tty,
        resources: linux.resources.map(resources::resources),
        security: security::container(linux.security_context.unwrap_or_default())?,
        stop_signal: signal::asked(wire.stop_signal)?,
    })
}

fn image_spec(wire: v1::ImageSpec) -> ImageSpec {
    ImageSpec {
        image: wire.image,
        annotations: wire.annotations,
        user_specified: wire.user_specified_image,
        runtime_handler: wire.runtime_handler,
        image_ref: wire.image_ref,
    }
}

fn wire_image_spec(spec: &ImageSpec) -> v1::ImageSpec {
    // A client creates by id; people want to see what they wrote.
    let shown = if spec.user_specified.is_empty() { &spec.image } else { &spec.user_specified };
    v1::ImageSpec {
        image: shown.clone(),
        annotations: spec.annotations.clone(),
        user_specified_image: spec.user_specified.clone(),
        runtime_handler: spec.runtime_handler.clone(),
        image_ref: spec.image_ref.clone(),
    }
}

fn mount(wire: v1::Mount) -> Result<MountSpec> {
    let propagation = match v1::MountPropagation::try_from(wire.propagation) {
        Ok(v1::MountPropagation::PropagationPrivate) => MountPropagation::Private,
        Ok(v1::MountPropagation::PropagationHostToContainer) => MountPropagation::HostToContainer,
        Ok(v1::MountPropagation::PropagationBidirectional) => MountPropagation::Bidirectional,
        Err(_) => {
            let (at, value) = (wire.container_path, wire.propagation);
            return Err(Error::invalid(format!("mount {at}: propagation {value} is unknown")));
        }
    };
    Ok(MountSpec {
        container_path: wire.container_path,
        host_path: wire.host_path,
        readonly: wire.readonly,
        selinux_relabel: wire.selinux_relabel,
        propagation,
        uid_mappings: wire.uid_mappings.into_iter().map(id_mapping).collect(),
        gid_mappings: wire.gid_mappings.into_iter().map(id_mapping).collect(),
        recursive_read_only: wire.recursive_read_only,
        image: wire.image.map(image_spec),
        image_sub_path: wire.image_sub_path,
    })
}

fn wire_mount(mount: &MountSpec) -> v1::Mount {
    let propagation = match mount.propagation {
        MountPropagation::Private => v1::MountPropagation::PropagationPrivate,
        MountPropagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
        MountPropagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
    };
    v1::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation as i32,
        recursive_read_only: mount.recursive_read_only,
        // By its id, by which a kubelet knows which images are in use.
        image: mount
            .image
            .as_ref()
            .map(|spec| v1::ImageSpec { image: spec.image.clone(), ..wire_image_spec(spec) }),
        image_sub_path: mount.image_sub_path.clone(),
        uid_mappings: mount.uid_mappings.iter().map(wire_id_mapping).collect(),
        gid_mappings: mount.gid_mappings.iter().map(wire_id_mapping).collect(),
    }
}

/// `ContainerFilter`; `None` when it asks for a state that no container of ours is in.
pub fn container_filter(wire: Option<v1::ContainerFilter>) -> Option<ContainerFilter> {
    let wire = wire.unwrap_or_default();
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let phase = match wire.state {
        Some(state) => Some(phase(state.state)?),
        None => None,
    };
    Some(ContainerFilter {
        id: some(wire.id),
        pod: some(wire.pod_sandbox_id),
        phase,
        labels: wire.label_selector,
    })
}

fn phase(wire: i32) -> Option<ContainerPhase> {
    match v1::ContainerState::try_from(wire) {
        Ok(v1::ContainerState::ContainerCreated) => Some(ContainerPhase::Created),
        Ok(v1::ContainerState::ContainerRunning) => Some(ContainerPhase::Running),
        Ok(v1::ContainerState::ContainerExited) => Some(ContainerPhase::Exited),
        _ => None,
    }
}

fn state(phase: ContainerPhase) -> i32 {
    let state = match phase {
        ContainerPhase::Created => v1::ContainerState::ContainerCreated,
        ContainerPhase::Running => v1::ContainerState::ContainerRunning,
        ContainerPhase::Exited => v1::ContainerState::ContainerExited,
        _ => v1::ContainerState::ContainerUnknown,
    };
    state as i32
}

/// `Container`
pub fn container_item(item: &ContainerItem) -> v1::Container {
    v1::Container {
        id: item.id.to_string(),
        pod_sandbox_id: item.pod.to_string(),
        metadata: Some(metadata(&item.config)),
        image: Some(wire_image_spec(item.base.as_deref().unwrap_or(&item.config.image))),
        image_ref: item.image_ref.clone(),
        state: state(item.phase),
        created_at: item.created_at,
        labels: item.config.labels.clone(),
        annotations: item.config.annotations.clone(),
        image_id: item.image_id.clone(),
    }
}

/// `ContainerStatus`, with the `info` of a verbose answer.
pub fn container_status(
    container: &ContainerStatus,
) -> (v1::ContainerStatus, BTreeMap<String, String>) {
    let exit = container.exit.as_ref();
    let config = &container.config;
    let status = v1::ContainerStatus {
        id: container.id.to_string(),
        metadata: Some(metadata(config)),
        state: state(container.phase),
        created_at: container.created_at,
        started_at: container.started_at,
        finished_at: exit.map_or(0, |exit| exit.at),
        exit_code: exit.map_or(0, |exit| exit.code),
        image: Some(wire_image_spec(container.base.as_deref().unwrap_or(&config.image))),
        image_ref: container.image_ref.clone(),
        reason: exit.map(|exit| exit.reason.clone()).unwrap_or_default(),
        message: exit.map(|exit| exit.message.clone()).unwrap_or_default(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: container.mounts.iter().map(wire_mount).collect(),
        log_path: container.log_path.clone(),
        resources: Some(v1::ContainerResources {
            linux: Some(resources::wire(&container.resources)),
            windows: None,
        }),
        image_id: container.image_id.clone(),
        user: Some(v1::ContainerUser {
            linux: Some(v1::LinuxContainerUser {
                uid: i64::from(container.user.uid),
                gid: i64::from(container.user.gid),
                supplemental_groups: container
                    .user
                    .groups
                    .iter()
                    .map(|id| i64::from(*id))
                    .collect(),
            }),
        }),
        stop_signal: signal::wire(container.stop_signal),
    };
    (status, info(container.info.as_ref()))
}

pub(super) fn metadata(config: &ContainerConfig) -> v1::ContainerMetadata {
    v1::ContainerMetadata { name: config.name.clone(), attempt: config.attempt }
}
