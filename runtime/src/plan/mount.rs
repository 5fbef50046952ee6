//! What a container finds in its file system.

use super::Slot;
use minicbor::{Decode, Encode};
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
    /// `MOUNT_ATTR__ATIME`: one field of three values, whose zero is `relatime`.
    pub const ATIME: u64 = 0x70;
    /// `MOUNT_ATTR_NODIRATIME`
    pub const NODIRATIME: u64 = 0x80;
    /// `MOUNT_ATTR_NOSYMFOLLOW`
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// One mount inside a container.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Mount {
    /// Absolute path inside the container's root, resolved there (`RESOLVE_IN_ROOT`); made as a
    /// directory, or as a file where the source is one, if it is missing.
    #[n(0)]
    pub target: String,
    /// What is mounted.
    #[n(1)]
    pub source: MountSource,
    /// Attributes to set, of [`attr`]. A new tmpfs becomes read-only only when all mounts, devices
    /// and links in it are made.
    #[n(2)]
    pub set: u64,
    /// Attributes to clear, of [`attr`] (a bind mount keeps those of its source otherwise). Of what
    /// is there already, mount_setattr(2) changes the field [`attr::ATIME`] only when it is cleared
    /// as a whole.
    #[n(3)]
    pub clear: u64,
    /// Set and clear on every mount below too (`rro` and its like).
    #[n(4)]
    pub recursive_attrs: bool,
    /// Propagation to set on the mount and those below. `None` leaves it, but a bind becomes
    /// private: a copy of a shared mount would carry the container's mounts to the host.
    #[cbor(n(5), with = "super::encoding::strict_option")]
    pub propagation: Option<Propagation>,
    /// Copy what the root has at the target into the new file system (`tmpcopyup`).
    #[n(6)]
    pub copy_up: bool,
    /// The user namespace by which the ids of a bind, and of what is mounted below it, are mapped.
    /// Since version 2.
    #[n(7)]
    pub id_map: Option<Slot>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum MountSource {
    /// A file or directory of the host. Opened by the child, because a dead network file system
    /// hangs whoever opens it.
    #[n(0)]
    Bind {
        /// Path on the host; symbolic links are followed.
        #[n(0)]
        path: PathBuf,
        /// With everything mounted below it.
        #[n(1)]
        recursive: bool,
    },
    /// A directory of the pod's own mount namespace, such as the pod's `shm`.
    #[n(1)]
    Pod(#[n(0)] String),
    /// A detached mount in this slot, such as an image that is a volume.
    #[n(2)]
    Detached(#[n(0)] Slot),
    /// A new instance of a file system (fsopen(2)), made inside the new namespaces.
    #[n(3)]
    New {
        /// File system type: `proc`, `tmpfs`, `sysfs`, `mqueue`, `devpts`, `cgroup2`, …
        #[n(0)]
        fstype: String,
        /// The `source` shown in mountinfo.
        #[n(1)]
        source: String,
        /// Its own options, for fsconfig(2): key and value, or a flag without one.
        #[n(2)]
        options: Vec<(String, Option<String>)>,
    },
}

/// How mounts and unmounts travel between a mount and its peers: mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Propagation {
    /// `MS_PRIVATE`
    #[n(0)]
    Private,
    /// `MS_SLAVE`
    #[n(1)]
    Slave,
    /// `MS_SHARED`
    #[n(2)]
    Shared,
    /// `MS_UNBINDABLE`
    #[n(3)]
    Unbindable,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Device {
    /// Absolute path inside the root.
    #[n(0)]
    pub path: String,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` and the permission bits.
    #[n(1)]
    pub mode: u32,
    /// Device number, as of makedev(3).
    #[n(2)]
    pub rdev: u64,
    /// Owner.
    #[n(3)]
    pub uid: u32,
    /// Group.
    #[n(4)]
    pub gid: u32,
}

/// A symbolic link; one that exists already is left.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Link {
    /// Absolute path inside the root.
    #[n(0)]
    pub path: String,
    /// What it points at.
    #[n(1)]
    pub target: String,
}
