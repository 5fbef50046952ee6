//! Events of the runtime in memory: it streams them when a test says so, and tells those that the test
//! does not lose.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use rrun_cri_api::Messages;
use rrun_cri_api::v1::*;
use tonic::Status;

use super::FakeCri;

/// Those who listen; nothing while there are no events.
pub type FakeEvents = Mutex<Option<Vec<UnboundedSender<ContainerEventResponse>>>>;

impl FakeCri {
    /// From now on there are events, or none any more: streams end.
    pub fn stream_events(&self, streamed: bool) {
        *self.events.lock().unwrap() = streamed.then(Vec::new);
    }

    /// Tells that something has happened to some pod.
    pub fn tell(&self) {
        for listener in self.events.lock().unwrap().iter().flatten() {
            listener.unbounded_send(ContainerEventResponse::default()).unwrap();
        }
    }

    /// How often containers were listed.
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::Relaxed)
    }

    pub(super) fn events(&self) -> Result<Messages<ContainerEventResponse>, Status> {
        let mut listeners = self.events.lock().unwrap();
        let listeners = listeners.as_mut().ok_or_else(|| Status::unavailable("no events now"))?;
        let (sender, receiver) = unbounded();
        listeners.push(sender);
        Ok(receiver.map(Ok).boxed())
    }
}
