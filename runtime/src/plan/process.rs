//! The process that a container starts with, or that an exec adds.

use serde::{Deserialize, Serialize};

/// One process, with everything that is set between clone and execve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Arguments; the first is looked up in the `PATH` of [`Process::env`] when it has no slash.
    pub args: Vec<String>,
    /// Environment, `NAME=value`; bytes, because CRI values are.
    pub env: Vec<Vec<u8>>,
    /// Working directory inside the container; made if it is missing, and checked to be inside
    /// after the root has changed (CVE-2024-21626).
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// Its capability sets.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`
    pub no_new_privileges: bool,
    /// The seccomp filter, loaded as late as possible.
    pub seccomp: Option<Seccomp>,
    /// Resource limits; raising one above the hard limit without CAP_SYS_RESOURCE is clamped.
    pub rlimits: Vec<Rlimit>,
    /// `/proc/self/oom_score_adj`; clamped to what is allowed without CAP_SYS_RESOURCE.
    pub oom_score_adj: Option<i32>,
    /// A new pseudo terminal becomes its controlling terminal and its stdio.
    pub terminal: bool,
    /// Rows and columns of that terminal at the start.
    pub terminal_size: Option<(u16, u16)>,
    /// AppArmor profile to change to at execve, where the kernel has AppArmor.
    pub apparmor: Option<String>,
    /// SELinux label, where the kernel has SELinux.
    pub selinux: Option<String>,
}

/// Ids of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// File mode creation mask; `None` leaves 0022.
    pub umask: Option<u32>,
}

/// Capability sets, bit n for capability n (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// A compiled seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    /// `struct sock_filter` after `struct sock_filter`, in the machine's byte order.
    pub filter: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`
    pub flags: u32,
}

/// One resource limit, setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}
