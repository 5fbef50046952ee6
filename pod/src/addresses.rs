//! Addresses of pods: known only once their sandboxes are made.

use std::collections::BTreeMap;

use crate::model::{Meta, SelectedPod, Service};

/// A pod's addresses, and those that its Services lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The pod's, first is primary; the node's for host-network pods.
    pub pod: Vec<String>,
    /// Those of other pods behind Services, as far as they are known, by `namespace/name`.
    pub others: BTreeMap<String, Vec<String>>,
}

impl Addresses {
    /// Those of a pod behind a Service, as the pod `own` knows them; none before they are known.
    pub fn behind(&self, service: &Service, pod: &SelectedPod, own: &Meta) -> &[String] {
        if service.is(pod, own) {
            return &self.pod;
        }
        self.others.get(&service.full_name(pod)).map_or(&[], Vec::as_slice)
    }
}
