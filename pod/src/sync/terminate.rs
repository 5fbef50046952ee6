//! The end of a pod.

use std::time::Duration;

use super::pull;
use super::worker::{PodWorker, RETRY};
use crate::events::Reason;
use crate::probe::ProbeWorkers;
use crate::state::Ending;

/// How long the end of a pod waits for its sandbox to be made.
const SANDBOX: Duration = Duration::from_secs(60);

impl PodWorker {
    /// Ends everything; a shorter grace that comes meanwhile takes over.
    pub(super) async fn terminate(&mut self, probes: &ProbeWorkers) {
        self.stopping.send_replace(true);
        self.ending = Ending::Begun;
        let mut stop = self.stop.clone();
        loop {
            let asked = stop.borrow_and_update().as_ref().and_then(|s| s.grace);
            // Not even an order to stop at once is a reason to skip the signal. One that is evicted
            // has as little time (`immediateEvictionGracePeriodSeconds`).
            let evicted = self.excess.borrow().is_some().then_some(1);
            let grace = evicted.or(asked.map(|g| g.max(1)));
            let ended = async {
                if let Some(making) = &mut self.making {
                    // However it ends, what there is of it is seen next.
                    let _ = tokio::time::timeout(SANDBOX, making).await;
                    self.making = None;
                }
                let (seen, _) = self.look().await?;
                self.publish(&seen, probes);
                self.kill_pod(&seen, grace).await
            };
            let result = tokio::select! {
                biased;
                result = ended => result,
                Ok(_) = stop.wait_for(|s| s.is_some_and(|s| shorter(s.grace, asked))) => continue,
            };
            match result {
                Ok(()) => break,
                Err(e) => {
                    self.events.warning(
                        None,
                        Reason::FailedKillPod,
                        format!("error killing pod: {e}"),
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        loop {
            let seen = match self.look().await {
                Ok((seen, _)) => seen,
                Err(e) => {
                    tracing::warn!(pod = %self.pod.meta.name, "look: {e}");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            self.ending = Ending::Done;
            self.publish(&seen, probes);
            break;
        }
        let settled = pull::settle(&*self.cri, &*self.node, &self.pod, self.clock.now()).await;
        if let Err(e) = settled {
            tracing::warn!(pod = %self.pod.meta.name, "pulls that were cut off: {e}");
        }
        if let Err(e) = self.node.tear_down(&self.pod.meta.uid).await {
            tracing::warn!(pod = %self.pod.meta.name, "tear down: {e}");
        }
    }
}

fn shorter(new: Option<u32>, old: Option<u32>) -> bool {
    match (new, old) {
        (Some(new), Some(old)) => new < old,
        (Some(_), None) => true,
        (None, _) => false,
    }
}
