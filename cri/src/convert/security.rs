//! Who a pod or a container is and what it may do.

use rrun_cri_api::v1;
use rrun_engine::model::{
    Capability, ContainerSecurity, GroupsPolicy, IdMapping, NamespaceMode, NamespaceOptions,
    PodSecurity, SeLinux, SecurityProfile, UserNamespace,
};
use rrun_engine::{Error, Result};
use v1::security_profile::ProfileType;

/// `LinuxSandboxSecurityContext`
pub fn pod(wire: v1::LinuxSandboxSecurityContext) -> Result<PodSecurity> {
    Ok(PodSecurity {
        namespaces: namespaces(wire.namespace_options.unwrap_or_default())?,
        selinux: wire.selinux_options.map(selinux),
        run_as_user: wire.run_as_user.map(|id| id.value),
        run_as_group: wire.run_as_group.map(|id| id.value),
        readonly_rootfs: wire.readonly_rootfs,
        supplemental_groups: wire.supplemental_groups,
        groups_policy: groups_policy(wire.supplemental_groups_policy)?,
        privileged: wire.privileged,
        seccomp: wire.seccomp.map(profile).transpose()?,
        apparmor: wire.apparmor.map(profile).transpose()?,
        seccomp_profile_path: wire.seccomp_profile_path,
    })
}

/// `LinuxContainerSecurityContext`
pub fn container(wire: v1::LinuxContainerSecurityContext) -> Result<ContainerSecurity> {
    let capabilities = wire.capabilities.unwrap_or_default();
    Ok(ContainerSecurity {
        capabilities: Capability {
            add: capabilities.add_capabilities,
            drop: capabilities.drop_capabilities,
            add_ambient: capabilities.add_ambient_capabilities,
        },
        privileged: wire.privileged,
        namespaces: namespaces(wire.namespace_options.unwrap_or_default())?,
        selinux: wire.selinux_options.map(selinux),
        run_as_user: wire.run_as_user.map(|id| id.value),
        run_as_group: wire.run_as_group.map(|id| id.value),
        run_as_username: wire.run_as_username,
        readonly_rootfs: wire.readonly_rootfs,
        supplemental_groups: wire.supplemental_groups,
        groups_policy: groups_policy(wire.supplemental_groups_policy)?,
        no_new_privs: wire.no_new_privs,
        masked_paths: wire.masked_paths,
        readonly_paths: wire.readonly_paths,
        seccomp: wire.seccomp.map(profile).transpose()?,
        apparmor: wire.apparmor.map(profile).transpose()?,
        apparmor_profile: wire.apparmor_profile,
        seccomp_profile_path: wire.seccomp_profile_path,
    })
}

/// `NamespaceOption`
pub fn namespaces(wire: v1::NamespaceOption) -> Result<NamespaceOptions> {
    let userns = |wire: v1::UserNamespace| -> Result<UserNamespace> {
        Ok(UserNamespace {
            mode: mode(wire.mode)?,
            uids: wire.uids.into_iter().map(id_mapping).collect(),
            gids: wire.gids.into_iter().map(id_mapping).collect(),
        })
    };
    Ok(NamespaceOptions {
        network: mode(wire.network)?,
        pid: mode(wire.pid)?,
        ipc: mode(wire.ipc)?,
        target_id: wire.target_id,
        userns: wire.userns_options.map(userns).transpose()?,
    })
}

/// `NamespaceOption`, back again.
pub fn wire_namespaces(options: &NamespaceOptions) -> v1::NamespaceOption {
    v1::NamespaceOption {
        network: wire_mode(options.network),
        pid: wire_mode(options.pid),
        ipc: wire_mode(options.ipc),
        target_id: options.target_id.clone(),
        userns_options: options.userns.as_ref().map(|userns| v1::UserNamespace {
            mode: wire_mode(userns.mode),
            uids: userns.uids.iter().map(wire_id_mapping).collect(),
            gids: userns.gids.iter().map(wire_id_mapping).collect(),
        }),
    }
}

pub(super) fn id_mapping(wire: v1::IdMapping) -> IdMapping {
    IdMapping { host_id: wire.host_id, container_id: wire.container_id, length: wire.length }
}

pub(super) fn wire_id_mapping(ids: &IdMapping) -> v1::IdMapping {
    v1::IdMapping { host_id: ids.host_id, container_id: ids.container_id, length: ids.length }
}

fn mode(wire: i32) -> Result<NamespaceMode> {
    match v1::NamespaceMode::try_from(wire) {
        Ok(v1::NamespaceMode::Pod) => Ok(NamespaceMode::Pod),
        Ok(v1::NamespaceMode::Container) => Ok(NamespaceMode::Container),
        Ok(v1::NamespaceMode::Node) => Ok(NamespaceMode::Node),
        Ok(v1::NamespaceMode::Target) => Ok(NamespaceMode::Target),
        Err(_) => Err(Error::invalid(format!("namespace mode {wire} is unknown"))),
    }
}

fn wire_mode(mode: NamespaceMode) -> i32 {
    let wire = match mode {
        NamespaceMode::Pod => v1::NamespaceMode::Pod,
        NamespaceMode::Container => v1::NamespaceMode::Container,
        NamespaceMode::Node => v1::NamespaceMode::Node,
        NamespaceMode::Target => v1::NamespaceMode::Target,
    };
    wire as i32
}

fn groups_policy(wire: i32) -> Result<GroupsPolicy> {
    match v1::SupplementalGroupsPolicy::try_from(wire) {
        Ok(v1::SupplementalGroupsPolicy::Merge) => Ok(GroupsPolicy::Merge),
        Ok(v1::SupplementalGroupsPolicy::Strict) => Ok(GroupsPolicy::Strict),
        Err(_) => Err(Error::invalid(format!("supplemental groups policy {wire} is unknown"))),
    }
}

fn profile(wire: v1::SecurityProfile) -> Result<SecurityProfile> {
    match ProfileType::try_from(wire.profile_type) {
        Ok(ProfileType::RuntimeDefault) => Ok(SecurityProfile::RuntimeDefault),
        Ok(ProfileType::Unconfined) => Ok(SecurityProfile::Unconfined),
        Ok(ProfileType::Localhost) => Ok(SecurityProfile::Localhost(wire.localhost_ref)),
        Err(_) => Err(Error::invalid(format!("profile type {} is unknown", wire.profile_type))),
    }
}

fn selinux(wire: v1::SeLinuxOption) -> SeLinux {
    SeLinux { user: wire.user, role: wire.role, kind: wire.r#type, level: wire.level }
}
