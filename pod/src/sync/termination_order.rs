//! The order in which containers of a pod end: regular ones at once, then sidecars, last first
//! (`kuberuntime_termination_order.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::Pod;

/// Whose end each container waits for.
#[derive(Debug)]
pub struct TerminationOrder {
    waits_for: BTreeMap<String, Vec<String>>,
    ended: watch::Sender<BTreeSet<String>>,
}

impl TerminationOrder {
    /// For a pod whose containers `running` are to be ended.
    pub fn new(pod: &Pod, running: &[String]) -> Self {
        let mut waits_for: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let regular: Vec<String> = pod.spec.containers.iter().map(|c| c.name.clone()).collect();
        let mut later: Option<String> = None;
        for sidecar in pod.spec.init_containers.iter().rev().filter(|c| c.is_sidecar()) {
            let mut list = regular.clone();
            list.extend(later.replace(sidecar.name.clone()));
            waits_for.insert(sidecar.name.clone(), list);
        }
        let idle = pod.spec.all().map(|(_, c)| c.name.clone()).filter(|n| !running.contains(n));
        TerminationOrder { waits_for, ended: watch::Sender::new(idle.collect()) }
    }

    /// Waits until it is `name`'s turn, or until `limit` is over.
    pub async fn turn(&self, name: &str, limit: Duration) {
        let Some(list) = self.waits_for.get(name) else { return };
        let mut ended = self.ended.subscribe();
        let all = ended.wait_for(|ended| list.iter().all(|other| ended.contains(other)));
        // Both ends are an end: the turn has come, or the grace is spent.
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// `name` has ended.
    pub fn ended(&self, name: &str) {
        self.ended.send_modify(|ended| {
            ended.insert(name.to_owned());
        });
    }
}
