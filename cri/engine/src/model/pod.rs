//! A pod as its client wants it.

use super::{
    GroupsPolicy, NamespaceOptions, Resources, SeLinux, SecurityProfile, Tags, UserNamespace,
};
use rrun_runtime::plan::IdMaps;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `PodSandboxConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodConfig {
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Pod namespace.
    pub namespace: String,
    /// Counts the sandboxes of one pod.
    pub attempt: u32,
    /// Empty for a pod on the host's network.
    pub hostname: String,
    /// Absolute folder of the containers' logs; empty: no logs are written.
    pub log_directory: String,
    /// Content of resolv.conf; `None` copies the host's.
    pub dns: Option<Dns>,
    /// Ports of the host that lead into the pod.
    pub ports: Vec<PortMapping>,
    /// Kept.
    pub labels: Tags,
    /// Kept.
    pub annotations: Tags,
    /// Group above the pod's containers, in cgroupfs spelling; empty: the engine's own default
    /// parent, and a group per pod below it.
    pub cgroup_parent: String,
    /// Values below `/proc/sys`, with `.` between the parts.
    pub sysctls: BTreeMap<String, String>,
    /// Who the pod's own process is, and which namespaces the pod has.
    pub security: PodSecurity,
    /// Cost of the sandbox itself. Kept.
    pub overhead: Option<Resources>,
    /// Sum over the containers. Kept.
    pub resources: Option<Resources>,
}

impl PodConfig {
    /// The key under which a retry of the same request is recognised.
    pub fn key(&self) -> PodKey {
        PodKey {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            attempt: self.attempt,
        }
    }

    /// What the ids of its own user namespace are outside of it, if it has one.
    pub fn id_maps(&self) -> Option<IdMaps> {
        self.security.namespaces.own_users().map(UserNamespace::id_maps)
    }

    /// `namespace/name`, for messages.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What makes two sandboxes the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Pod namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Attempt.
    pub attempt: u32,
}

/// resolv.conf
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// A port of the host that leads into a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortMapping {
    /// Protocol.
    pub protocol: Protocol,
    /// Port in the pod.
    pub container_port: i32,
    /// Port on the host; 0 maps nothing.
    pub host_port: i32,
    /// Address on the host; empty: all.
    pub host_ip: String,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// `LinuxSandboxSecurityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSecurity {
    /// Which namespaces the pod has.
    pub namespaces: NamespaceOptions,
    /// SELinux label; refused.
    pub selinux: Option<SeLinux>,
    /// User id of the reaper.
    pub run_as_user: Option<i64>,
    /// Group id of the reaper; the kubelet sends it without a user too, who is nobody then.
    pub run_as_group: Option<i64>,
    /// Kept: the reaper's root is read-only and empty anyway.
    pub readonly_rootfs: bool,
    /// Supplementary groups of the reaper.
    pub supplemental_groups: Vec<i64>,
    /// Kept: the reaper's root has no /etc/group.
    pub groups_policy: GroupsPolicy,
    /// The pod may have privileged containers.
    pub privileged: bool,
    /// Seccomp profile of the reaper, which has the default when none is asked for.
    pub seccomp: Option<SecurityProfile>,
    /// AppArmor profile of the reaper; `None` is the default, where the kernel has AppArmor.
    pub apparmor: Option<SecurityProfile>,
    /// Deprecated spelling of `seccomp`.
    pub seccomp_profile_path: String,
}
