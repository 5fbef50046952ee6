//! What a pod makes of the addresses behind its Services.

use super::observe::Observed;
use super::worker::PodWorker;

impl PodWorker {
    /// Waits, for seconds at most, until it is known where the pod's Services lead.
    pub(super) async fn await_services(&mut self) {
        let mut behind = self.behind.clone();
        let settled = async move {
            // Its sender ends only with all that it will ever tell.
            let _ = behind.wait_for(|behind| behind.settled).await;
        };
        self.told("the addresses behind its Services", settled).await;
        self.addresses.others.clone_from(&self.behind.borrow().addresses);
    }

    /// Brings the hosts file up to date, once there are containers that read it.
    pub(super) async fn refresh_hosts(&mut self, seen: &Observed) {
        if seen.runs.is_empty() || !self.behind.borrow().settled {
            return;
        }
        let fresh = self.behind.borrow().addresses.clone();
        if self.addresses.others == fresh || self.addresses.pod.is_empty() {
            return;
        }
        self.addresses.others = fresh;
        if let Err(e) = self.write_hosts().await {
            tracing::warn!(pod = %self.pod.meta.name, "hosts file: {e}");
        }
    }
}
