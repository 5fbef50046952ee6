//! A checked Pod: every default filled in, every name valid, nothing in it that this crate would
//! silently not do.

mod container;
mod env;
mod job;
mod probe;
mod resources;
mod security;
mod service;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use container::{
    Container, ContainerKind, ContainerPort, Lifecycle, MountPropagation, Protocol, PullPolicy,
    RecursiveReadOnly, ResizePolicy, RestartPolicy, RestartRule, StopSignal, SubPath,
    TerminationMessagePolicy, VolumeMount,
};
pub use env::{
    ConfigMap, EnvFrom, EnvSource, EnvVar, FieldRef, FileKeyRef, ObjectSource, PodField,
    ResourceField, ResourceFieldRef, ResourceName, Secret,
};
pub use job::Job;
pub use probe::{Handler, HttpGet, PortRef, Probe, Scheme};
pub use resources::{ResourceList, Resources};
pub use security::{Capabilities, ContainerSecurity, GroupsPolicy, PodSecurity, Profile, SeLinux};
pub use service::{SelectedPod, Service, ServicePort};
pub use volume::{
    Claim, DownwardContent, DownwardItem, EmptyDir, HostPathType, KeyToPath, Medium, Projection,
    Volume, VolumeSource,
};

use crate::ids::PodUid;

/// Name, namespace and the person's own labels and annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// DNS subdomain.
    pub name: String,
    /// DNS label; `default` if the manifest names none.
    pub namespace: String,
    /// From the manifest, or derived from it.
    pub uid: PodUid,
    /// Checked keys and values.
    pub labels: BTreeMap<String, String>,
    /// Checked keys.
    pub annotations: BTreeMap<String, String>,
    /// Which edition of its spec this is, where an API server counted them; else 0.
    pub generation: i64,
}

/// A whole pod as it will be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Who it is.
    pub meta: Meta,
    /// What it is.
    pub spec: PodSpec,
    /// ConfigMaps, Secrets, claims and Services that came beside the manifest.
    pub objects: Objects,
    /// Of which Job it is, if it is of one.
    pub job: Option<Arc<Job>>,
    /// What of the manifest is not done, a sentence each, in the order it was met.
    pub notes: Vec<String>,
}

impl Pod {
    /// Another pod in the place of this one, which has failed: the so many-th, from 1.
    #[must_use]
    pub fn again(mut self, tries: u32) -> Pod {
        let before = self.meta.uid.clone();
        let meta = &mut self.meta;
        meta.name = format!("{}-retry{tries}", meta.name);
        meta.uid = PodUid::derive(&meta.namespace, &meta.name, before.as_str().as_bytes());
        self
    }
}

/// The objects that volumes and environments refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// By name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// By name.
    pub claims: BTreeMap<String, Claim>,
    /// Of all namespaces, in the order of their names. The pods of a manifest have them in common.
    pub services: Arc<Vec<Service>>,
}

/// The part of a PodSpec that a node acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSpec {
    /// `os.name` is given, which can be `linux` only.
    pub names_its_os: bool,
    /// In the manifest's order; names unique.
    pub volumes: Vec<Volume>,
    /// Started in order; sidecars are those with `restartPolicy: Always`.
    pub init_containers: Vec<Container>,
    /// At least one; started in order, without waiting for each other.
    pub containers: Vec<Container>,
    /// For containers that name no policy of their own.
    pub restart_policy: RestartPolicy,
    /// Seconds.
    pub termination_grace_period: u32,
    /// Seconds from the pod's start until it is failed.
    pub active_deadline: Option<u32>,
    /// Where resolv.conf comes from.
    pub dns_policy: DnsPolicy,
    /// What is added to it.
    pub dns_config: DnsConfig,
    /// The node's network namespace.
    pub host_network: bool,
    /// The node's PID namespace.
    pub host_pid: bool,
    /// The node's IPC namespace.
    pub host_ipc: bool,
    /// The node's users: root in it is the node's root. Else it has a user namespace of its own.
    pub host_users: bool,
    /// One PID namespace for all containers.
    pub share_process_namespace: bool,
    /// For all containers that say nothing else.
    pub security: PodSecurity,
    /// Instead of the pod's name.
    pub hostname: Option<String>,
    /// Adds `<subdomain>.<namespace>.svc.<cluster domain>`.
    pub subdomain: Option<String>,
    /// The FQDN as the kernel's hostname.
    pub hostname_as_fqdn: bool,
    /// Instead of all that: one name, which may have dots.
    pub hostname_override: Option<String>,
    /// Extra lines for /etc/hosts: address, names.
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// Names of Secrets with registry credentials.
    pub image_pull_secrets: Vec<String>,
    /// CRI runtime handler.
    pub runtime_class: Option<String>,
    /// For `spec.nodeName` in a fieldRef.
    pub node_name: Option<String>,
    /// For `spec.serviceAccountName` in a fieldRef.
    pub service_account: String,
    /// Whether the variables of Services are set, beside those of Kubernetes itself.
    pub enable_service_links: bool,
    /// Condition types that must be True before the pod is Ready.
    pub readiness_gates: Vec<String>,
    /// Pod-level requests and limits.
    pub resources: Resources,
}

impl PodSpec {
    /// Every container with its kind: init containers first.
    pub fn all(&self) -> impl Iterator<Item = (ContainerKind, &Container)> {
        let init = self.init_containers.iter().map(|c| (c.init_kind(), c));
        init.chain(self.containers.iter().map(|c| (ContainerKind::Regular, c)))
    }

    /// The container of that name, of any kind.
    pub fn find(&self, name: &str) -> Option<(ContainerKind, &Container)> {
        self.all().find(|(_, c)| c.name == name)
    }

    /// Whether any end of a container lets all be made anew (`AllContainersCouldRestart`).
    pub fn may_restart_all(&self) -> bool {
        self.all().any(|(_, container)| container.restart_rules.iter().any(|rule| rule.all))
    }

    /// The policy for `container`: its own, else the pod's.
    pub fn restart_policy_of(&self, container: &Container) -> RestartPolicy {
        container.restart_policy.unwrap_or(self.restart_policy)
    }

    /// Whether a container that ended with `exit_code` is to be started again.
    pub fn restarts_after(&self, container: &Container, exit_code: i32) -> bool {
        if container.rule_after(exit_code).is_some() {
            return true;
        }
        match self.restart_policy_of(container) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// Where a pod's resolv.conf comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsPolicy {
    /// The cluster's; without a cluster, the node's.
    ClusterFirst,
    /// The same for host-network pods.
    ClusterFirstWithHostNet,
    /// The node's.
    Default,
    /// Only what `dnsConfig` says.
    None,
}

/// `spec.dnsConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// At most three addresses.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// `name` or `name:value`.
    pub options: Vec<(String, Option<String>)>,
}
