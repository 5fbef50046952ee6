//! Events of containers. One is sent after the status has what it tells.

use crate::id::{ContainerId, Owner, PodId};
use crate::status::{ContainerStatus, PodStatus};
use rrun_sys::time;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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
    /// The pod as it was right afterwards, or last; `None` when it is gone and was made again.
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
    lost: Arc<AtomicU64>,
}

impl Events {
    /// The next event; `None` when the engine is gone. A subscriber that lags too far behind
    /// loses the oldest ones: whoever listens must list now and then.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if event.owner == self.owner => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                    tracing::warn!(owner = %self.owner, lost, "a subscriber lags: it lost events");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Tells what happened, to whoever listens.
pub(crate) struct EventSender {
    sender: broadcast::Sender<Arc<Event>>,
    last: AtomicI64,
    lost: Arc<AtomicU64>,
}

impl EventSender {
    pub(crate) fn new() -> EventSender {
        let sender = broadcast::channel(KEPT).0;
        EventSender { sender, last: AtomicI64::new(0), lost: Arc::default() }
    }

    pub(crate) fn subscribe(&self, owner: &Owner) -> Events {
        let (receiver, lost) = (self.sender.subscribe(), Arc::clone(&self.lost));
        Events { owner: owner.clone(), receiver, lost }
    }

    /// How many events subscribers have lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Tells an event; `make` is asked for it, with its time, only when somebody listens.
    pub(crate) fn tell(&self, make: impl FnOnce(i64) -> Event) {
        if self.sender.receiver_count() > 0 {
            // Nobody listens any more: nobody misses it.
            let _ = self.sender.send(Arc::new(make(self.stamp())));
        }
    }

    /// The time now, later than every one given before: the kubelet orders events by it.
    fn stamp(&self) -> i64 {
        let now = time::now();
        let next = |last: i64| Some(now.max(last.saturating_add(1)));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or(0).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing_subscriber::fmt::MakeWriter;

    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    fn event(at: i64) -> Event {
        Event {
            owner: Owner::Cri,
            kind: EventKind::Created,
            at,
            pod: PodId::random().unwrap(),
            container: None,
            pod_status: None,
            containers: Vec::new(),
        }
    }

    #[test]
    fn a_subscriber_that_lags_goes_on_and_the_log_says_what_it_lost() {
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(|| LOG.make_writer()).finish();
        let events = EventSender::new();
        let mut lagging = events.subscribe(&Owner::Cri);
        (0..KEPT + 7).for_each(|_| events.tell(event));
        let oldest = tracing::subscriber::with_default(subscriber, || {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(lagging.next())
        });
        assert!(oldest.is_some());
        let text = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
        assert!(text.contains("lags") && text.contains("lost=7"), "{text}");
        assert_eq!(events.lost(), 7);
    }
}
