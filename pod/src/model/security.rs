//! Security contexts, as written; `crate::security` makes them effective.

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file below the node's seccomp folder, or a loaded AppArmor profile.
    Localhost(String),
}

/// SELinux labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeLinux {
    /// user
    pub user: String,
    /// role
    pub role: String,
    /// type
    pub kind: String,
    /// level
    pub level: String,
}

/// Whether the image's group file adds groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupsPolicy {
    /// It does.
    Merge,
    /// It does not.
    Strict,
}

/// `spec.securityContext`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSecurity {
    /// uid
    pub run_as_user: Option<i64>,
    /// gid
    pub run_as_group: Option<i64>,
    /// Refuse uid 0.
    pub run_as_non_root: Option<bool>,
    /// Owner group of the volumes, and a supplemental group.
    pub fs_group: Option<i64>,
    /// More groups.
    pub supplemental_groups: Vec<i64>,
    /// Whether the image adds groups.
    pub supplemental_groups_policy: Option<GroupsPolicy>,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Seccomp.
    pub seccomp: Option<Profile>,
    /// AppArmor.
    pub apparmor: Option<Profile>,
    /// SELinux.
    pub selinux: Option<SeLinux>,
}

/// Capability names without `CAP_`, or `ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Beyond the default set.
    pub add: Vec<String>,
    /// From the default set.
    pub drop: Vec<String>,
}

/// `securityContext` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSecurity {
    /// All capabilities, all devices, nothing masked.
    pub privileged: Option<bool>,
    /// uid
    pub run_as_user: Option<i64>,
    /// gid
    pub run_as_group: Option<i64>,
    /// Refuse uid 0.
    pub run_as_non_root: Option<bool>,
    /// The root filesystem cannot be written.
    pub read_only_root_filesystem: Option<bool>,
    /// `false` sets no_new_privs.
    pub allow_privilege_escalation: Option<bool>,
    /// Changes to the default set.
    pub capabilities: Option<Capabilities>,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
    /// Seccomp.
    pub seccomp: Option<Profile>,
    /// AppArmor.
    pub apparmor: Option<Profile>,
    /// SELinux.
    pub selinux: Option<SeLinux>,
}
