//! The process that a container starts with, or that an exec adds.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// One process, with everything that is set between clone and execve.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Process {
    /// Arguments; the first is looked up in the `PATH` of [`Process::env`] when it has no slash.
    #[n(0)]
    pub args: Vec<String>,
    /// Environment, `NAME=value`; bytes, because CRI values are.
    #[cbor(n(1), with = "super::encoding::byte_strings")]
    pub env: Vec<Vec<u8>>,
    /// Working directory inside the container; made if it is missing, and checked to be inside
    /// after the root has changed (CVE-2024-21626).
    #[n(2)]
    pub cwd: String,
    /// Who it runs as.
    #[n(3)]
    pub user: User,
    /// Its capability sets.
    #[n(4)]
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`
    #[n(5)]
    pub no_new_privileges: bool,
    /// The seccomp filter, loaded as late as possible.
    #[cbor(n(6), with = "super::encoding::strict_option")]
    pub seccomp: Option<Seccomp>,
    /// Resource limits; raising one above the hard limit without CAP_SYS_RESOURCE is clamped.
    #[n(7)]
    pub rlimits: Vec<Rlimit>,
    /// `/proc/self/oom_score_adj`; clamped to what is allowed without CAP_SYS_RESOURCE.
    #[n(8)]
    pub oom_score_adj: Option<i32>,
    /// A new pseudo terminal becomes its controlling terminal and its stdio.
    #[n(9)]
    pub terminal: bool,
    /// Rows and columns of that terminal at the start.
    #[n(10)]
    pub terminal_size: Option<(u16, u16)>,
    /// AppArmor profile to change to at execve.
    #[n(11)]
    pub apparmor: Option<String>,
    /// SELinux label to take at execve.
    #[n(12)]
    pub selinux: Option<String>,
    /// Name of the session keyring to join, made if it is new; an empty one is made without a
    /// name. `None` keeps the caller's.
    #[n(13)]
    pub keyring: Option<String>,
}

/// Ids of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct User {
    /// User id.
    #[n(0)]
    pub uid: u32,
    /// Group id.
    #[n(1)]
    pub gid: u32,
    /// Supplementary group ids.
    #[n(2)]
    pub groups: Vec<u32>,
    /// File mode creation mask; `None` leaves 0022.
    #[n(3)]
    pub umask: Option<u32>,
    /// Its user id outside of a user namespace that is joined, by which it gets its standard
    /// descriptors: from inside nobody can give them to it.
    #[n(4)]
    pub outside: Option<u32>,
}

/// Capability sets, bit n for capability n (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Capabilities {
    /// Bounding set.
    #[n(0)]
    pub bounding: u64,
    /// Effective set.
    #[n(1)]
    pub effective: u64,
    /// Permitted set.
    #[n(2)]
    pub permitted: u64,
    /// Inheritable set.
    #[n(3)]
    pub inheritable: u64,
    /// Ambient set.
    #[n(4)]
    pub ambient: u64,
}

/// A compiled seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Seccomp {
    /// `struct sock_filter` after `struct sock_filter`, in the machine's byte order.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub filter: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`
    #[n(1)]
    pub flags: u32,
    /// Who answers the calls that the filter leaves to somebody. Since version 4.
    #[n(2)]
    #[serde(default)]
    pub listener: Option<Listener>,
}

/// Who is sent the descriptor of a filter's listener, with what runtime-spec calls the container
/// process state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Listener {
    /// Absolute path of the socket that somebody listens at.
    #[n(0)]
    pub path: String,
    /// `linux.seccomp.listenerMetadata`
    #[n(1)]
    pub metadata: Option<String>,
    /// The version of runtime-spec in the container's configuration.
    #[n(2)]
    pub oci_version: String,
    /// The container's state as JSON, without its end: status, pid and the closing brace.
    #[n(3)]
    pub state: String,
}

/// One resource limit, setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rlimit {
    /// `RLIMIT_*`
    #[n(0)]
    pub resource: u32,
    /// Soft limit.
    #[n(1)]
    pub soft: u64,
    /// Hard limit.
    #[n(2)]
    pub hard: u64,
}
