//! Programs of the node's administrator that are told what happens, and may change how containers are
//! made. Configurations and limits are OCI's, as JSON.

use crate::error::Result;
use crate::model::{ContainerConfig, PodConfig, Resources};
use crate::phase::ContainerPhase;
use crate::status::ContainerExit;
use async_trait::async_trait;
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Who is told.
#[async_trait]
pub trait Plugins: Send + Sync {
    /// Whether anybody wants to hear of it: nothing is put together for nobody.
    fn hear(&self, moment: &Moment) -> bool;

    /// Tells them, one after the other, and gives what they wish.
    ///
    /// # Errors
    /// One says no, or two wish different things. What is over already (a stop, a removal) is over all
    /// the same.
    async fn tell(
        &self,
        moment: Moment,
        pod: PodInfo,
        container: Option<ContainerInfo>,
    ) -> Result<Wishes>;
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Moment {
    /// A pod has all that it needs, and is in no list yet.
    RunPod,
    /// What a pod costs and has is told anew.
    UpdatePod(Box<[Option<Resources>; 2]>),
    UpdatedPod,
    /// A pod's containers have ended, and its network is still there.
    StopPod,
    RemovePod,
    /// A container is planned, and is in no list yet.
    CreateContainer,
    CreatedContainer,
    StartContainer,
    StartedContainer,
    /// A container is to have these limits: `linux.resources`.
    UpdateContainer {
        resources: Value,
    },
    UpdatedContainer,
    /// A container has ended, by itself or not.
    StopContainer,
    RemoveContainer,
}

/// A pod, as it is told.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct PodInfo {
    pub id: String,
    pub config: Arc<PodConfig>,
    pub handler: String,
    /// Its control group, in cgroupfs spelling.
    pub cgroup: String,
    pub netns: Option<PathBuf>,
    pub ips: Vec<IpAddr>,
    /// Of its own process; 0: it has none.
    pub pid: i32,
    pub overhead: Option<Resources>,
    pub resources: Option<Resources>,
}

/// A container, as it is told.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ContainerInfo {
    pub id: String,
    pub config: Arc<ContainerConfig>,
    pub phase: ContainerPhase,
    /// Its configuration; null where it cannot be read.
    pub spec: Value,
    /// Of its first process; 0: none.
    pub pid: i32,
    /// Nanoseconds since the epoch; 0: never.
    pub created_at: i64,
    pub started_at: i64,
    pub exit: Option<ContainerExit>,
}

/// What plugins wish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// The configuration of the container that is made.
    pub spec: Option<Value>,
    /// CDI devices that it is to have beside its own.
    pub cdi_devices: Vec<String>,
    /// The limits of the container whose limits change.
    pub resources: Option<Value>,
    /// Limits of other containers.
    pub updates: Vec<WishedUpdate>,
    /// Other containers that are to be stopped, each with why.
    pub evictions: Vec<(String, String)>,
}

/// Limits that a container is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct WishedUpdate {
    /// Its id.
    pub container: String,
    /// `linux.resources`
    pub resources: Value,
    /// Whoever wished it does not mind.
    pub may_fail: bool,
}

/// There are none.
#[derive(Clone, Copy, Debug)]
pub struct NoPlugins;

#[async_trait]
impl Plugins for NoPlugins {
    fn hear(&self, _: &Moment) -> bool {
        false
    }

    async fn tell(&self, _: Moment, _: PodInfo, _: Option<ContainerInfo>) -> Result<Wishes> {
        Ok(Wishes::default())
    }
}
