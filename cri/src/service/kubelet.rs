//! Whose work the images of the node are: a kubelet's, or ours.

use super::Service;
use crate::config::Config;
use crate::parts;
use rrun_engine::status::PodFilter;
use rrun_images::Collection;
use rrun_images::gc::{Amount, PERIOD, Policy};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A kubelet asks for the status every 5 seconds, 60 times in a period. Nobody else asks half as
/// often.
const OF_A_KUBELET: u32 = 30;

/// The label that a kubelet puts on every pod.
const LABEL: &str = "io.kubernetes.pod.uid";

/// What is known of our clients by what they ask.
#[derive(Default)]
pub(super) struct Clients {
    /// Requests for the status in this period.
    statuses: AtomicU32,
    /// Whether they were a kubelet's in the last one.
    is_kubelet: AtomicBool,
}

impl Clients {
    pub(super) fn asked_for_status(&self) {
        self.statuses.fetch_add(1, Ordering::Relaxed);
    }

    /// A kubelet that came a while ago, or was there in the last period.
    fn has_kubelet(&self) -> bool {
        self.is_kubelet.load(Ordering::Relaxed)
            || self.statuses.load(Ordering::Relaxed) >= OF_A_KUBELET
    }

    /// Whether somebody asks as often as that, by the requests since the period began.
    fn ask_as_a_kubelet(&self, since: Duration) -> bool {
        let asked = self.statuses.load(Ordering::Relaxed);
        asked > 0 && PERIOD * asked >= since * OF_A_KUBELET
    }

    fn next_period(&self) {
        let asked = self.statuses.swap(0, Ordering::Relaxed);
        self.is_kubelet.store(asked >= OF_A_KUBELET, Ordering::Relaxed);
    }
}

impl Service {
    /// Whether a kubelet owns the node: it asks as one does, or there are pods of one.
    pub(super) fn has_kubelet(&self) -> bool {
        let pods = || self.engine.list_pods(&self.owner, &PodFilter::default());
        self.clients.has_kubelet() || pods().iter().any(|pod| pod.config.labels.contains_key(LABEL))
    }

    /// Collects images every five minutes, first after five, and as soon as the configuration has
    /// them collected in another way, where no kubelet does it. Such a one is told of in the log when
    /// the disk is as full as it should not be.
    pub async fn collect_images(self, mut config: watch::Receiver<Arc<Config>>) {
        let mut began = Instant::now();
        let mut policy = parts::image_gc(&config.borrow_and_update());
        loop {
            let mut is_kubelets = false;
            tokio::select! {
                () = sleep_until(began + PERIOD) => {
                    began = Instant::now();
                    self.clients.next_period();
                }
                Ok(()) = config.changed() => {
                    let new = parts::image_gc(&config.borrow_and_update());
                    if new == policy {
                        continue;
                    }
                    // Of this period no more is known.
                    is_kubelets = self.clients.ask_as_a_kubelet(began.elapsed());
                    policy = new;
                }
            }
            match &policy {
                Ok(policy) if policy.is_off() => {}
                Ok(policy) => self.collect_by(*policy, is_kubelets || self.has_kubelet()).await,
                Err(error) => tracing::warn!("images are not collected: {error}"),
            }
        }
    }

    async fn collect_by(&self, policy: Policy, is_kubelets: bool) {
        let done = match is_kubelets {
            true => {
                self.images.plan_collection(policy, BTreeSet::new()).await.map(warn_of_shortage)
            }
            false => self.images.collect_images(policy, BTreeSet::new()).await.map(warn_of_trouble),
        };
        if let Err(error) = done {
            tracing::warn!("images are not collected: {error}");
        }
    }
}

/// What a kubelet leaves.
fn warn_of_shortage(planned: Collection) {
    if planned.wanted != Amount::default() {
        let room = planned.room;
        tracing::warn!("{room} are used: the node's kubelet is to collect images, and has not");
    }
}

/// What another process does is told by that.
fn warn_of_trouble(done: Option<Collection>) {
    if let Some(trouble) = done.and_then(|done| done.trouble()) {
        tracing::warn!("collect images: {trouble}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_the_status_as_often_as_a_kubelet_is_one_until_a_period_without() {
        let clients = Clients::default();
        let ask = |times| (0..times).for_each(|_| clients.asked_for_status());
        ask(OF_A_KUBELET - 1);
        assert!(!clients.has_kubelet(), "a monitor");
        ask(1);
        assert!(clients.has_kubelet());
        clients.next_period();
        assert!(clients.has_kubelet(), "its next request is still to come");
        ask(2);
        clients.next_period();
        assert!(!clients.has_kubelet());
    }

    #[test]
    fn in_the_midst_of_a_period_a_kubelet_is_told_by_how_often_it_has_asked_so_far() {
        let clients = Clients::default();
        assert!(!clients.ask_as_a_kubelet(Duration::ZERO), "nobody has asked");
        clients.asked_for_status();
        assert!(clients.ask_as_a_kubelet(Duration::from_secs(5)));
        assert!(!clients.ask_as_a_kubelet(Duration::from_secs(60)));
        (0..5).for_each(|_| clients.asked_for_status());
        assert!(clients.ask_as_a_kubelet(Duration::from_secs(60)));
    }
}
