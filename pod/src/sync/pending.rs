//! What the worker waits for, put on record once that takes long.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::worker::PodWorker;
use crate::state::{DoneCall, PendingCall, PodState};

/// What is answered sooner is on no record.
const LONG: Duration = Duration::from_secs(1);

/// So many calls stay on record: those of a pod's start.
const CALLS: usize = 64;

/// A call on record; dropped, it is not any more.
struct OnRecord<'a>(&'a watch::Sender<PodState>, PendingCall);

impl Drop for OnRecord<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|state| {
            if let Some(at) = state.pending.iter().position(|call| *call == self.1) {
                state.pending.remove(at);
            }
        });
    }
}

/// Waits for a call.
pub(super) async fn told<T>(
    saved: &watch::Sender<PodState>,
    call: PendingCall,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    let begun = Instant::now();
    let done = match tokio::time::timeout(LONG, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            saved.send_modify(|state| state.pending.push(call.clone()));
            let _on_record = OnRecord(saved, call.clone());
            work.await
        }
    };
    let PendingCall { call, since } = call;
    let done_call = DoneCall { call, since, until: since.after(begun.elapsed()) };
    // On record with the next change: nobody waits for it.
    saved.send_if_modified(|state| {
        if state.calls.len() < CALLS {
            state.calls.push(done_call);
        }
        false
    });
    done
}

impl PodWorker {
    /// A call that is made now.
    pub(super) fn call(&self, name: impl Into<String>) -> PendingCall {
        PendingCall { call: name.into(), since: self.clock.now() }
    }

    /// Waits for a call.
    pub(super) async fn told<T>(
        &self,
        name: impl Into<String>,
        work: impl Future<Output = T>,
    ) -> T {
        told(&self.saved, self.call(name), work).await
    }
}
