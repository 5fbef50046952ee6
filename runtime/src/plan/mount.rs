//! What a container finds in its file system.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Attributes of a mount, as in mount_setattr(2).
pub mod attr {
    /// `MOUNT_ATTR_RDONLY`
    pub const RDONLY: u64 = 0x1;
    /// `MOUNT_ATTR_NOSUID`
    pub const NOSUID: u64 = 0x2;
    /// `MOUNT_ATTR_NODEV`
    pub const NODEV: u64 = 0x4;
    /// `MOUNT_ATTR_NOEXEC`
    pub const NOEXEC: u64 = 0x8;
    /// `MOUNT_ATTR_NOATIME`
    pub const NOATIME: u64 = 0x10;
    /// `MOUNT_ATTR_STRICTATIME`
    pub const STRICTATIME: u64 = 0x20;
    /// `MOUNT_ATTR_NODIRATIME`
    pub const NODIRATIME: u64 = 0x80;
    /// `MOUNT_ATTR_NOSYMFOLLOW`
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// One mount inside a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container's root, resolved there (`RESOLVE_IN_ROOT`); made as a
    /// directory, or as a file where the source is one, if it is missing.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Attributes to set, of [`attr`]. A new tmpfs becomes read-only only when all mounts, devices
    /// and links in it are made.
    pub set: u64,
    /// Attributes to clear, of [`attr`] (a bind mount keeps those of its source otherwise).
    pub clear: u64,
    /// Set and clear on every mount below too (`rro` and its like).
    pub recursive_attrs: bool,
    /// Propagation to set on the mount and those below. `None` leaves it, but a bind becomes
    /// private: a copy of a shared mount would carry the container's mounts to the host.
    pub propagation: Option<Propagation>,
    /// Copy what the root has at the target into the new file system (`tmpcopyup`).
    pub copy_up: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host. Opened by the child, because a dead network file system
    /// hangs whoever opens it.
    Bind {
        /// Path on the host; symbolic links are followed.
        path: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
    },
    /// A directory of the seed mount namespace, such as the pod's `shm`.
    Seed(String),
    /// A detached mount in this slot.
    Detached(super::Slot),
    /// A new instance of a file system (fsopen(2)), made inside the new namespaces.
    New {
        /// File system type: `proc`, `tmpfs`, `sysfs`, `mqueue`, `devpts`, `cgroup2`, …
        fstype: String,
        /// The `source` shown in mountinfo.
        source: String,
        /// Its own options, for fsconfig(2): key and value, or a flag without one.
        options: Vec<(String, Option<String>)>,
    },
}

/// How mounts and unmounts travel between a mount and its peers: mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `MS_PRIVATE`
    Private,
    /// `MS_SLAVE`
    Slave,
    /// `MS_SHARED`
    Shared,
    /// `MS_UNBINDABLE`
    Unbindable,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path inside the root.
    pub path: String,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` and the permission bits.
    pub mode: u32,
    /// Device number, as of makedev(3).
    pub rdev: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A symbolic link; one that exists already is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Absolute path inside the root.
    pub path: String,
    /// What it points at.
    pub target: String,
}
