//! What one pod's worker holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rrun_cri_api::{Cri, v1};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::behind::Behind;
use super::termination_messages::TerminationMessages;
use crate::addresses::Addresses;
use crate::admission::Runtime;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::ephemeral::Ephemeral;
use crate::error::Result;
use crate::events::Recorder;
use crate::gc::policy::GcPolicy;
use crate::hints::Hint;
use crate::model::Pod;
use crate::node::Node;
use crate::probe::Results;
use crate::pull_records::VerificationPolicy;
use crate::resize::Actuated;
use crate::state::{Ending, PodState, Pulls};
use crate::status::{PodStatus, StartFailure, Terminated};

/// When a sync that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// An order to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Seconds instead of the pod's own grace.
    pub grace: Option<u32>,
}

/// Everything that one pod's worker holds.
pub(crate) struct PodWorker {
    pub pod: Arc<Pod>,
    pub cri: Arc<dyn Cri>,
    pub runtime: Arc<Runtime>,
    pub node: Arc<dyn Node>,
    pub clock: Clock,
    pub events: Recorder,
    pub status: watch::Sender<PodStatus>,
    pub saved: watch::Sender<PodState>,
    pub stop: watch::Receiver<Option<Stop>>,
    /// Becomes true when nothing is to be started any more.
    pub stopping: watch::Sender<bool>,
    pub ending: Ending,
    /// Why the pod is to be evicted, once it takes more of the disk than it may.
    pub excess: watch::Receiver<Option<String>>,
    /// Which images that are here the pod may use without asking their registry.
    pub verification: Arc<VerificationPolicy>,
    /// How many dead containers are kept.
    pub gc: GcPolicy,
    /// What the runtime tells of the pod by itself.
    pub hints: watch::Receiver<Hint>,
    pub results: Arc<Results>,
    pub addresses: Addresses,
    /// Where the pod's Services lead.
    pub behind: watch::Receiver<Behind>,
    pub crashes: Backoff,
    pub pulls: Pulls,
    pub failures: BTreeMap<String, StartFailure>,
    /// How runs ended that a restart has removed, and the restart count of those after them.
    pub before_restart: BTreeMap<String, (u32, Terminated)>,
    pub messages: TerminationMessages,
    /// What containers and the pod's own group have of CPU and memory.
    pub actuated: Actuated,
    /// Whether they are to have others, which is not told to be done yet.
    pub resizing: bool,
    /// Newer editions of the pod.
    pub editions: watch::Receiver<Arc<Pod>>,
    /// Ephemeral containers that were added to the pod.
    pub ephemeral: watch::Receiver<Vec<Ephemeral>>,
    /// How often all containers were to be started again, and how often that was begun.
    pub restarts: watch::Receiver<u64>,
    pub restarted: watch::Sender<u64>,
    /// The sandbox that is being made.
    pub making: Option<Making>,
}

pub(super) type Making = JoinHandle<Result<v1::RunPodSandboxResponse, tonic::Status>>;
