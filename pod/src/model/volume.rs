//! Volumes.

use super::{FieldRef, ResourceFieldRef};
use crate::quantity::Quantity;

/// One volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// DNS label, unique in the pod.
    pub name: String,
    /// What is in it.
    pub source: VolumeSource,
}

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A folder that lives as long as the pod.
    EmptyDir(EmptyDir),
    /// A path of the node.
    HostPath {
        /// Absolute.
        path: String,
        /// What must be there.
        kind: HostPathType,
    },
    /// Files from one or several sources. `configMap`, `secret` and `downwardAPI` volumes are
    /// projections of one source.
    Projected {
        /// Each adds files; a later one wins.
        sources: Vec<Projection>,
        /// Mode of files that name none.
        default_mode: u32,
        /// On tmpfs, because a secret may be in it (everything but a plain `configMap`).
        in_memory: bool,
    },
    /// A folder that stays when the pod is gone.
    Claim {
        /// Which PersistentVolumeClaim.
        claim: String,
        /// Whether no container may write.
        read_only: bool,
    },
    /// The files of an image, read-only.
    Image {
        /// Reference.
        reference: String,
        /// When it is pulled.
        pull_policy: super::PullPolicy,
    },
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The path of the node that it was bound to, and what must be there; else it is a folder of its
    /// own.
    pub bound: Option<(String, HostPathType)>,
}

/// `emptyDir`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmptyDir {
    /// Disk or memory.
    pub medium: Medium,
    /// Bytes: held by the kernel in memory, and by eviction on disk.
    pub size_limit: Option<Quantity>,
}

/// Where an `emptyDir` lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// The node's disk.
    #[default]
    Disk,
    /// tmpfs.
    Memory,
}

/// What a `hostPath` must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathType {
    /// Not checked.
    Unset,
    /// A folder, made (0755) if it is not there.
    DirectoryOrCreate,
    /// A folder.
    Directory,
    /// A file, made (0644) if it is not there; its folder is not.
    FileOrCreate,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// A key of an object as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// Relative, no `..`.
    pub path: String,
    /// Instead of the volume's default.
    pub mode: Option<u32>,
}

/// A downward API file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownwardItem {
    /// Relative, no `..`.
    pub path: String,
    /// Its content.
    pub content: DownwardContent,
    /// Instead of the volume's default.
    pub mode: Option<u32>,
}

/// What a downward API file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownwardContent {
    /// A field of the pod.
    Field(FieldRef),
    /// An amount; the container is named.
    Resource(ResourceFieldRef),
}

/// One source of a projected volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projection {
    /// A ConfigMap's keys.
    ConfigMap {
        /// Its name.
        name: String,
        /// All keys if empty.
        items: Vec<KeyToPath>,
        /// Absence is no error.
        optional: bool,
    },
    /// A Secret's keys.
    Secret {
        /// Its name.
        name: String,
        /// All keys if empty.
        items: Vec<KeyToPath>,
        /// Absence is no error.
        optional: bool,
    },
    /// Fields and amounts.
    DownwardApi(Vec<DownwardItem>),
}
