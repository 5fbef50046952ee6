//! Services, as far as the pods of one manifest are behind them.

use super::{Meta, Protocol};

/// A Service with the pods of the manifest that it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// DNS label.
    pub name: String,
    /// Of the pods behind it.
    pub namespace: String,
    /// `clusterIP: None`: a name for each pod, and no variables.
    pub headless: bool,
    /// The first is the one that variables call the Service's.
    pub ports: Vec<ServicePort>,
    /// In the manifest's order.
    pub pods: Vec<SelectedPod>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Given where there are several.
    pub name: Option<String>,
    /// The Service's, not the pods'.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedPod {
    /// The pod's, in the Service's namespace.
    pub name: String,
    /// What the pod is called below the name of a headless Service: where its `subdomain` names that.
    pub hostname: Option<String>,
}

impl Service {
    /// `namespace/name` of a pod behind it.
    pub fn full_name(&self, pod: &SelectedPod) -> String {
        format!("{}/{}", self.namespace, pod.name)
    }

    /// Whether this pod behind it is the one with this metadata.
    pub fn is(&self, pod: &SelectedPod, own: &Meta) -> bool {
        pod.name == own.name && self.namespace == own.namespace
    }
}
