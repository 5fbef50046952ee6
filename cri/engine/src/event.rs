//! What happened, told after it can be seen.

use crate::id::{ContainerId, Owner, PodId};
use crate::status::{ContainerStatus, PodStatus};
use std::sync::Arc;
use tokio::sync::broadcast;

/// How many events a slow subscriber may lag behind before it loses the oldest.
const KEPT: usize = 1024;

/// Something happened to a pod or a container.
#[derive(Clone, Debug)]
pub struct Event {
    /// Whose pod it is.
    pub owner: Owner,
    /// What.
    pub kind: EventKind,
    /// Nanoseconds since the epoch, never the same as that of an earlier event.
    pub at: i64,
    /// The pod.
    pub pod: PodId,
    /// The container; `None`: it happened to the pod itself.
    pub container: Option<ContainerId>,
    /// The pod as it was right afterwards; `None` when it is gone.
    pub pod_status: Option<PodStatus>,
    /// The pod's containers right afterwards.
    pub containers: Vec<ContainerStatus>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventKind {
    Created,
    Started,
    Stopped,
    Deleted,
}

/// Events of one owner's pods, from the subscription on, in order.
pub struct Events {
    pub(crate) owner: Owner,
    pub(crate) receiver: broadcast::Receiver<Arc<Event>>,
}

impl Events {
    /// The next event; `None` when the engine is gone. A subscriber that lags too far behind
    /// loses the oldest ones: whoever listens must list now and then.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if event.owner == self.owner => return Some(event),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

pub(crate) fn channel() -> broadcast::Sender<Arc<Event>> {
    broadcast::channel(KEPT).0
}
