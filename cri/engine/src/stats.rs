//! What containers and pods use.

use crate::id::{ContainerId, PodId};
use crate::model::{ContainerConfig, ImageSpec, PodConfig, Resources};
use std::path::PathBuf;
use std::sync::Arc;

pub use rrun_runtime::cgroup::Opened;
pub use rrun_runtime::cgroup::stats::{
    CpuTimes, Details, DeviceIo, HugePages, Memory, MemoryDetails, Pressure, Pressures, Stall,
    Stats, Swap, Throttling,
};

/// What one container uses.
#[derive(Clone, Debug)]
pub struct ContainerStats {
    /// Its id.
    pub id: ContainerId,
    /// What was asked for: name, labels, annotations.
    pub config: Arc<ContainerConfig>,
    /// What its group counts; `None` for a container that does not run.
    pub usage: Option<Arc<Usage>>,
    /// Its writable layer, as it was measured last.
    pub writable_layer: Option<FsUsage>,
}

/// What one pod uses.
#[derive(Clone, Debug)]
pub struct PodStats {
    /// Its id.
    pub id: PodId,
    /// What was asked for: name, labels, annotations.
    pub config: Arc<PodConfig>,
    /// What the pod's group counts.
    pub usage: Option<Arc<Usage>>,
    /// What its interfaces count; the first is the default one. Empty on the host's network.
    pub interfaces: Arc<Vec<InterfaceUsage>>,
    /// Its containers.
    pub containers: Vec<ContainerStats>,
}

/// What a control group counts.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// When it was read, nanoseconds since the epoch.
    pub at: i64,
    /// The figures, as the group has them.
    pub figures: Stats,
    /// CPU in use since the reading before, billionths of one CPU; `None` at the first.
    pub nano_cores: Option<u64>,
}

/// Space that something takes on a file system.
#[derive(Clone, Debug, Default)]
pub struct FsUsage {
    /// When it was measured, nanoseconds since the epoch.
    pub at: i64,
    /// A path on that file system.
    pub mountpoint: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// That file system, where it was asked for.
    pub file_system: Option<FileSystem>,
}

/// How large a file system is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// Its device: `/dev/vda1`, or `major:minor` of one that has no file.
    pub device: String,
    /// Bytes.
    pub bytes: u64,
    /// Inodes; 0 where they are made as they are needed.
    pub inodes: u64,
    /// Those of them that are free.
    pub inodes_free: u64,
}

/// What metrics tell of a pod.
#[derive(Clone, Debug)]
pub struct PodMetrics {
    /// Its id.
    pub id: PodId,
    /// What was asked for: name and namespace.
    pub config: Arc<PodConfig>,
    /// What its interfaces count, and when they were read, nanoseconds since the epoch; `None` on the
    /// host's network.
    pub interfaces: Option<(i64, Arc<Vec<InterfaceUsage>>)>,
    /// Its running containers.
    pub containers: Vec<ContainerMetrics>,
}

/// What metrics tell of a running container.
#[derive(Clone, Debug)]
pub struct ContainerMetrics {
    /// Its id.
    pub id: ContainerId,
    /// What was asked for: name and image.
    pub config: Arc<ContainerConfig>,
    /// What it was made of, if that is not the image that was asked for, which was a checkpoint.
    pub base: Option<Arc<ImageSpec>>,
    /// When it was started, nanoseconds since the epoch.
    pub started_at: i64,
    /// Its limits, as they were asked for.
    pub resources: Resources,
    /// What is counted, and when that was read, nanoseconds since the epoch.
    pub counts: Option<(i64, Arc<Counts>)>,
    /// Its writable layer, as it was measured last.
    pub writable_layer: Option<FsUsage>,
}

/// Everything that is counted of a container.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The figures of its group.
    pub figures: Stats,
    /// More of them.
    pub details: Details,
    /// Its processes and what they have open.
    pub opened: Option<Opened>,
    /// What its group did with block devices, by their names as in [`FileSystem::device`].
    pub devices: Vec<(String, DeviceIo)>,
}

/// What a network interface counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InterfaceUsage {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
