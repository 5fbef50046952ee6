//! The plan: a flat, versioned message with everything about one container resolved.
//!
//! The daemon (or `rrun-oci`) makes it from an OCI configuration; the executor, which may be of
//! an older release and lives in another process, carries it out without asking anything back.
//! File descriptors that travel beside a plan are called slots: a plan names them by their index.

mod cgroup;
pub mod device_filter;
mod mount;
mod process;

pub use cgroup::{CgroupDir, CgroupWrite, Cgroups};
pub use mount::{Device, Link, Mount, MountSource, Propagation, attr};
pub use process::{Capabilities, Process, Rlimit, Seccomp, User};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of [`Plan`] and [`ExecPlan`] that this code writes.
///
/// An executor takes every version up to its own; a field may be added at the end of a struct
/// only together with a new version.
pub const VERSION: u16 = 1;

/// Index of a file descriptor in the table that travels beside a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot(pub u8);

/// How to make a container's init, up to the point where it waits for its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`] of the writer.
    pub version: u16,
    /// Which namespaces are new, joined or the caller's.
    pub namespaces: Namespaces,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Mounts in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Device nodes, made after the mounts.
    pub devices: Vec<Device>,
    /// Symbolic links, made after the devices (`/dev/fd` and its like).
    pub links: Vec<Link>,
    /// Paths covered by `/dev/null` or an empty read-only directory; missing ones are passed over.
    pub masked: Vec<String>,
    /// Paths made read-only; missing ones are passed over.
    pub readonly: Vec<String>,
    /// Host name, set when the UTS namespace is new.
    pub hostname: Option<String>,
    /// NIS domain name, set when the UTS namespace is new.
    pub domainname: Option<String>,
    /// `/proc/sys` names (with `/` or `.`) and values, written from inside before the root
    /// becomes read-only.
    pub sysctls: Vec<(String, String)>,
    /// The control groups that the container lives in.
    pub cgroups: Cgroups,
    /// The first process.
    pub process: Process,
}

/// How to run one more process in a container that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// [`VERSION`] of the writer.
    pub version: u16,
    /// Where the process is placed: the container's own groups, and in the unified hierarchy a
    /// group of its own below the container's (`exec-<n>`), so that its tree can be killed.
    pub cgroups: Cgroups,
    /// The process.
    pub process: Process,
}

/// The root file system of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rootfs {
    /// A detached mount that came as a file descriptor, or a directory on the host.
    pub source: RootfsSource,
    /// Make the root read-only after everything else.
    pub readonly: bool,
    /// Propagation of the root mount; `None` is private.
    pub propagation: Option<Propagation>,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RootfsSource {
    /// A detached mount (fsmount(2), open_tree(2)) in this slot.
    Detached(Slot),
    /// A directory on the host, bound recursively.
    Directory(PathBuf),
}

/// Which namespaces the process gets. The mount namespace is always new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Process ids.
    pub pid: Namespace,
    /// Network.
    pub network: Namespace,
    /// System V IPC and POSIX message queues.
    pub ipc: Namespace,
    /// Host and domain name.
    pub uts: Namespace,
    /// View of the control groups.
    pub cgroup: Namespace,
    /// Users and capabilities. Anything but `Host` is refused by this version.
    pub user: Namespace,
    /// Monotonic and boot clocks.
    pub time: Namespace,
}

/// One namespace of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The one of the process that carries out the plan.
    Host,
    /// A new one.
    New,
    /// The one bound to, or linked from, this path.
    Path(PathBuf),
    /// The one open in this slot (an nsfs descriptor, or a pidfd).
    Slot(Slot),
}
