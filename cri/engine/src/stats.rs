//! What containers and pods use.

use crate::id::{ContainerId, PodId};
use crate::model::{ContainerConfig, PodConfig};
use std::path::PathBuf;
use std::sync::Arc;

/// What one container uses.
#[derive(Clone, Debug)]
pub struct ContainerStats {
    /// Its id.
    pub id: ContainerId,
    /// What was asked for: name, labels, annotations.
    pub config: Arc<ContainerConfig>,
    /// What its group counts; `None` for a container that does not run.
    pub usage: Option<Usage>,
    /// Its writable layer.
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
    pub usage: Option<Usage>,
    /// What its interfaces count; the first is the default one. Empty on the host's network.
    pub interfaces: Vec<InterfaceUsage>,
    /// Processes in the pod.
    pub processes: Option<u64>,
    /// Its containers.
    pub containers: Vec<ContainerStats>,
}

/// What a control group counts.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// When it was read, nanoseconds since the epoch.
    pub at: i64,
    /// CPU time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// CPU pressure.
    pub cpu_psi: Option<Psi>,
    /// Memory.
    pub memory: Memory,
    /// I/O pressure.
    pub io_psi: Option<Psi>,
}

/// Memory of a control group, bytes.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// In use without the inactive page cache.
    pub working_set: Option<u64>,
    /// Limit without the working set, where there is a limit.
    pub available: Option<u64>,
    /// In use.
    pub usage: Option<u64>,
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page faults, a count.
    pub faults: Option<u64>,
    /// Page faults that needed a device, a count.
    pub major_faults: Option<u64>,
    /// Swap that is left.
    pub swap_available: Option<u64>,
    /// Swap in use.
    pub swap_usage: Option<u64>,
    /// Memory pressure.
    pub psi: Option<Psi>,
}

/// Pressure stall information of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Psi {
    /// All tasks waited.
    pub full: PsiLine,
    /// Some task waited.
    pub some: PsiLine,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PsiLine {
    /// Microseconds in total.
    pub total: u64,
    /// Percent of the last 10 s.
    pub avg10: f64,
    /// Percent of the last 60 s.
    pub avg60: f64,
    /// Percent of the last 300 s.
    pub avg300: f64,
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
}

/// What a network interface counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InterfaceUsage {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}
