//! What clients see: items of lists, statuses, and the filters of both.

use crate::id::{ContainerId, PodId};
use crate::model::{ContainerConfig, ImageSpec, MountSpec, PodConfig, Resources, Tags};
use crate::phase::{ContainerPhase, PodPhase};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A pod as it is now.
#[derive(Clone, Debug)]
pub struct PodStatus {
    /// Its id.
    pub id: PodId,
    /// What was asked for.
    pub config: Arc<PodConfig>,
    /// Where it stands; [`PodStatus::is_ready`] is what CRI tells.
    pub phase: PodPhase,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Its addresses, the first is the main one; none on the host's network.
    pub ips: Vec<IpAddr>,
    /// The runtime handler it was made with; empty: the default.
    pub handler: String,
    /// Why it is not ready, if that was nobody's wish: `ShimLost`, `Rebooted`.
    pub reason: String,
    /// The `info` of verbose status, under containerd's keys.
    pub info: Option<serde_json::Value>,
}

impl PodStatus {
    /// `SANDBOX_READY`
    pub fn is_ready(&self) -> bool {
        self.phase == PodPhase::Ready
    }
}

/// A container as it is now.
#[derive(Clone, Debug)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// Its pod.
    pub pod: PodId,
    /// What was asked for.
    pub config: Arc<ContainerConfig>,
    /// Where it stands.
    pub phase: ContainerPhase,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Nanoseconds since the epoch; 0: never.
    pub started_at: i64,
    /// How it ended, once it has.
    pub exit: Option<ContainerExit>,
    /// Id of its image, the same as `Image.id`.
    pub image_id: String,
    /// Repository digest of its image, or its id.
    pub image_ref: String,
    /// What it was made of, if that is not the image that was asked for, which was a checkpoint.
    pub base: Option<Arc<ImageSpec>>,
    /// Its mounts, with the host paths as asked for.
    pub mounts: Vec<MountSpec>,
    /// Absolute path of its log; empty: none.
    pub log_path: String,
    /// Limits in force.
    pub resources: Resources,
    /// Who its first process is.
    pub user: LinuxUser,
    /// Signal number of a stop.
    pub stop_signal: i32,
    /// The `info` of verbose status, under containerd's keys.
    pub info: Option<serde_json::Value>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// Exit code, 128 + n for signal n.
    pub code: i32,
    /// Nanoseconds since the epoch.
    pub at: i64,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ShimLost`, `Rebooted`, `Unknown`.
    pub reason: String,
    /// The error of one that could not be executed, else empty.
    pub message: String,
}

/// Ids of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Which pods; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct PodFilter {
    /// Id or its beginning.
    pub id: Option<String>,
    /// Ready or not.
    pub ready: Option<bool>,
    /// These labels with these values.
    pub labels: Tags,
}

/// Which containers; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct ContainerFilter {
    /// Id or its beginning.
    pub id: Option<String>,
    /// Its pod's id or the beginning of it.
    pub pod: Option<String>,
    /// Where it stands.
    pub phase: Option<ContainerPhase>,
    /// These labels with these values.
    pub labels: Tags,
}

/// One line of a list of pods.
#[derive(Clone, Debug)]
pub struct PodItem {
    /// Its id.
    pub id: PodId,
    /// What was asked for.
    pub config: Arc<PodConfig>,
    /// `SANDBOX_READY`
    pub ready: bool,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// The runtime handler it was made with.
    pub handler: String,
}

/// One line of a list of containers.
#[derive(Clone, Debug)]
pub struct ContainerItem {
    /// Its id.
    pub id: ContainerId,
    /// Its pod.
    pub pod: PodId,
    /// What was asked for.
    pub config: Arc<ContainerConfig>,
    /// Where it stands.
    pub phase: ContainerPhase,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Id of its image, the same as `Image.id`.
    pub image_id: String,
    /// Repository digest of its image, or its id.
    pub image_ref: String,
    /// What it was made of, if that is not the image that was asked for, which was a checkpoint.
    pub base: Option<Arc<ImageSpec>>,
}
