//! The engine: one method per verb.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::event::{self, Event, Events};
use crate::id::{ContainerId, Owner, PodId};
use crate::model::{ContainerConfig, PodConfig, Resources};
use crate::ports::Ports;
use crate::session::{AttachRequest, ExecOutput, ExecRequest, Session};
use crate::stats::{ContainerStats, PodStats};
use crate::status::{
    ContainerFilter, ContainerItem, ContainerStatus, PodFilter, PodItem, PodStatus,
};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Pods and containers of this machine. Cheap to clone: all clones are one engine.
///
/// Ids may be given by any beginning that is unique. Every call carries its caller's owner: what
/// belongs to another is `NotFound`.
#[derive(Clone)]
pub struct Engine {
    events: broadcast::Sender<Arc<Event>>,
}

/// What [`Engine::open`] met.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Pods that are served again.
    pub pods: Vec<PodId>,
    /// Pods that another process works on.
    pub foreign: Vec<PodId>,
    /// Records that were moved away, with the reason.
    pub quarantined: Vec<(String, String)>,
    /// What could not be undone or released, with the reason; tried again at the next open.
    pub left: Vec<(String, String)>,
}

fn not_yet<T>(verb: &str) -> Result<T> {
    Err(Error::new(Kind::Unimplemented, format!("{verb}: not built yet")))
}

impl Engine {
    /// Opens the engine: reads the records, takes what no other process works on, dials the
    /// shims, and brings everything to a state that can be served.
    ///
    /// # Errors
    /// When the state folders cannot be made or read. A broken record is none.
    pub async fn open(_config: Config, _ports: Ports) -> Result<(Engine, Recovery)> {
        Ok((Engine { events: event::channel() }, Recovery::default()))
    }

    /// Makes a pod. A retry with the same name, namespace, uid, attempt and config joins the job
    /// that runs, or gets the id of the pod that stands.
    ///
    /// # Errors
    /// `Exists` for another config under that key, or when that pod has been stopped.
    pub async fn run_pod(
        &self,
        _owner: &Owner,
        _config: PodConfig,
        _handler: &str,
    ) -> Result<PodId> {
        not_yet("run pod")
    }

    /// Stops a pod with all its containers and gives back its network. Unknown and stopped are
    /// done.
    pub async fn stop_pod(&self, _owner: &Owner, _id: &str) -> Result<()> {
        not_yet("stop pod")
    }

    /// Removes a pod with all its containers, running or not. Unknown is done.
    pub async fn remove_pod(&self, _owner: &Owner, _id: &str) -> Result<()> {
        not_yet("remove pod")
    }

    /// A pod as it is now; `info` is there when `verbose`.
    pub async fn pod_status(&self, _owner: &Owner, id: &str, _verbose: bool) -> Result<PodStatus> {
        Err(Error::not_found(format!("pod {id}")))
    }

    /// Pods, in the order in which they were made.
    pub fn list_pods(&self, _owner: &Owner, _filter: &PodFilter) -> Vec<PodItem> {
        Vec::new()
    }

    /// Makes a container that waits for its start. A retry with the same name, attempt and
    /// config joins or gets the finished id, as in [`Engine::run_pod`].
    ///
    /// # Errors
    /// `NotFound` for the pod or the image, `Exists`, `Invalid` for what the config asks in vain.
    pub async fn create_container(
        &self,
        _owner: &Owner,
        _pod: &str,
        _config: ContainerConfig,
    ) -> Result<ContainerId> {
        not_yet("create container")
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// `FailedPrecondition` in any other state, and when its program cannot be executed; it has
    /// ended then, with code 128 and reason `StartError`.
    pub async fn start_container(&self, _owner: &Owner, _id: &str) -> Result<()> {
        not_yet("start container")
    }

    /// Stops a container: its stop signal once, SIGKILL after `grace`; returns when it has ended
    /// and its log is flushed. Ended, never started and unknown are done. A second call never
    /// signals again, it may shorten the grace.
    pub async fn stop_container(&self, _owner: &Owner, _id: &str, _grace: Duration) -> Result<()> {
        not_yet("stop container")
    }

    /// Removes a container, running or not. Unknown is done.
    pub async fn remove_container(&self, _owner: &Owner, _id: &str) -> Result<()> {
        not_yet("remove container")
    }

    /// A container as it is now; `info` is there when `verbose`.
    pub async fn container_status(
        &self,
        _owner: &Owner,
        id: &str,
        _verbose: bool,
    ) -> Result<ContainerStatus> {
        Err(Error::not_found(format!("container {id}")))
    }

    /// Containers, in the order in which they were made.
    pub fn list_containers(&self, _owner: &Owner, _filter: &ContainerFilter) -> Vec<ContainerItem> {
        Vec::new()
    }

    /// Changes limits of a created or running container; fields that are 0 or empty stay.
    pub async fn update_resources(
        &self,
        _owner: &Owner,
        _id: &str,
        _resources: Resources,
    ) -> Result<()> {
        not_yet("update resources")
    }

    /// Opens the log of a running container anew at its path.
    pub async fn reopen_log(&self, _owner: &Owner, _id: &str) -> Result<()> {
        not_yet("reopen log")
    }

    /// Runs a command in a running container to its end.
    ///
    /// # Errors
    /// `Timeout` when it has not ended after `timeout`: its whole tree is killed then.
    pub async fn exec_sync(
        &self,
        _owner: &Owner,
        _id: &str,
        _command: Vec<String>,
        _timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        not_yet("exec")
    }

    /// Runs a command in a running container with its streams open.
    pub async fn exec(&self, _owner: &Owner, _id: &str, _request: ExecRequest) -> Result<Session> {
        not_yet("exec")
    }

    /// Attaches to the streams of a running container; output from now on, no history.
    pub async fn attach(
        &self,
        _owner: &Owner,
        _id: &str,
        _request: AttachRequest,
    ) -> Result<Session> {
        not_yet("attach")
    }

    /// The network namespace of a ready pod; `None`: it is the host's.
    pub async fn pod_netns(&self, _owner: &Owner, _id: &str) -> Result<Option<OwnedFd>> {
        not_yet("port-forward")
    }

    /// What a container uses.
    pub async fn container_stats(&self, _owner: &Owner, id: &str) -> Result<ContainerStats> {
        Err(Error::not_found(format!("container {id}")))
    }

    /// What the containers use that run; `phase` of the filter is ignored.
    pub async fn list_container_stats(
        &self,
        _owner: &Owner,
        _filter: &ContainerFilter,
    ) -> Vec<ContainerStats> {
        Vec::new()
    }

    /// What a pod uses.
    pub async fn pod_stats(&self, _owner: &Owner, id: &str) -> Result<PodStats> {
        Err(Error::not_found(format!("pod {id}")))
    }

    /// What the ready pods use; `ready` of the filter is ignored.
    pub async fn list_pod_stats(&self, _owner: &Owner, _filter: &PodFilter) -> Vec<PodStats> {
        Vec::new()
    }

    /// What happens from now on to the pods of `owner`.
    pub fn events(&self, owner: &Owner) -> Events {
        Events { owner: owner.clone(), receiver: self.events.subscribe() }
    }
}
