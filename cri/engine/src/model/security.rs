//! Who a container is and what it may do.

use rrun_runtime::plan::{IdMaps, IdRange};
use serde::{Deserialize, Serialize};

/// `LinuxContainerSecurityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSecurity {
    /// Changes to the default capabilities; ignored with `privileged`.
    pub capabilities: Capability,
    /// All capabilities and devices, nothing masked, no seccomp.
    pub privileged: bool,
    /// Which namespaces are shared with whom.
    pub namespaces: NamespaceOptions,
    /// SELinux label; refused.
    pub selinux: Option<SeLinux>,
    /// User id; not together with `run_as_username`.
    pub run_as_user: Option<i64>,
    /// Group id; needs a user.
    pub run_as_group: Option<i64>,
    /// User name, looked up in the container's own passwd.
    pub run_as_username: String,
    /// Read-only root.
    pub readonly_rootfs: bool,
    /// More groups.
    pub supplemental_groups: Vec<i64>,
    /// Whether the image's own groups of the user are added.
    pub groups_policy: GroupsPolicy,
    /// `PR_SET_NO_NEW_PRIVS`
    pub no_new_privs: bool,
    /// Covered paths; ignored with `privileged`.
    pub masked_paths: Vec<String>,
    /// Read-only paths; ignored with `privileged`.
    pub readonly_paths: Vec<String>,
    /// Seccomp profile; `None` is unconfined.
    pub seccomp: Option<SecurityProfile>,
    /// AppArmor profile; `None` is the default, where the kernel has AppArmor.
    pub apparmor: Option<SecurityProfile>,
    /// Deprecated spelling of `apparmor`.
    pub apparmor_profile: String,
    /// Deprecated spelling of `seccomp`.
    pub seccomp_profile_path: String,
}

/// Changes to a set of capabilities; names without `CAP_`, or `ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capability {
    /// To add.
    pub add: Vec<String>,
    /// To drop.
    pub drop: Vec<String>,
    /// To add to the ambient set too.
    pub add_ambient: Vec<String>,
}

/// `NamespaceOption`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOptions {
    /// `Pod` or `Node`.
    pub network: NamespaceMode,
    /// Any.
    pub pid: NamespaceMode,
    /// `Pod` or `Node`.
    pub ipc: NamespaceMode,
    /// The container whose PID namespace is joined with [`NamespaceMode::Target`].
    pub target_id: String,
    /// The user namespace of the pod; `None` and `Node` are the host's.
    pub userns: Option<UserNamespace>,
}

/// Whose namespace it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// The pod's.
    #[default]
    Pod,
    /// The container's own.
    Container,
    /// The host's.
    Node,
    /// That of another container.
    Target,
}

/// A user namespace with its mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserNamespace {
    /// `Pod` or `Node`.
    pub mode: NamespaceMode,
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

impl NamespaceOptions {
    /// The pod's own user namespace, if it has one.
    pub fn own_users(&self) -> Option<&UserNamespace> {
        self.userns.as_ref().filter(|userns| userns.mode == NamespaceMode::Pod)
    }
}

impl UserNamespace {
    /// Its maps, as the kernel takes them.
    pub fn id_maps(&self) -> IdMaps {
        let range = |mapping: &IdMapping| IdRange {
            inside: mapping.container_id,
            outside: mapping.host_id,
            count: mapping.length,
        };
        IdMaps {
            users: self.uids.iter().map(range).collect(),
            groups: self.gids.iter().map(range).collect(),
        }
    }
}

/// How supplementary groups come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupsPolicy {
    /// Those asked for and those of the user in the image's /etc/group.
    #[default]
    Merge,
    /// Only those asked for.
    Strict,
}

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProfile {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file of the node (seccomp), or a loaded profile (AppArmor).
    Localhost(String),
}

/// SELinux label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct SeLinux {
    pub user: String,
    pub role: String,
    pub kind: String,
    pub level: String,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First on the host.
    pub host_id: u32,
    /// First in the container.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}
