//! A pod's records while it runs.

use super::rotate::PERIOD;
use super::store::LockedPod;
use crate::engine::PodHandle;
use crate::error::Result;
use crate::events::Missed;

/// Keeps the records of a pod until it is over; the answer is the pod, still taken.
pub(super) async fn record(mut pod: LockedPod, handle: &PodHandle) -> LockedPod {
    let (mut state, mut events) = (handle.state(), handle.events());
    let mut again = tokio::time::interval(PERIOD);
    let mut faults = Faults::default();
    let (mut unsaved, mut told_all, mut over) = (true, false, false);
    while !over {
        tokio::select! {
            // Whoever takes the pod over goes on from its state; events are for people.
            biased;
            changed = state.changed() => over = changed.is_err(),
            event = events.recv(), if !told_all => {
                match event {
                    Ok(event) => faults.note("event", pod.record(event).await),
                    Err(Missed::Lost(lost)) => {
                        tracing::warn!("{lost} events came faster than they could be recorded");
                    }
                    Err(Missed::Over) => told_all = true,
                }
                continue;
            }
            _ = again.tick(), if unsaved => {}
        }
        let now = state.borrow_and_update().clone();
        let done = pod.save(now).await;
        unsaved = done.is_err();
        faults.note("state", done);
    }
    while let Some(event) = events.next_now() {
        faults.note("event", pod.record(event).await);
    }
    pod
}

/// What could not be done, told once until it goes well again or fails for another reason.
#[derive(Default)]
pub(super) struct Faults(std::collections::BTreeMap<&'static str, String>);

impl Faults {
    pub(super) fn note(&mut self, what: &'static str, result: Result<()>) {
        match result {
            Ok(()) => drop(self.0.remove(what)),
            Err(e) => {
                let text = e.to_string();
                if self.0.get(what) != Some(&text) {
                    tracing::error!("{text}");
                    self.0.insert(what, text);
                }
            }
        }
    }
}
