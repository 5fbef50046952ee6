//! Which documents a manifest may have, and what becomes of each.

use super::fault::{Fault, Read};
use super::near::nearest;
use super::tree::{Value, YamlNode};

/// What becomes of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is run.
    Pod,
    /// The pods of its template are run.
    Workload,
    /// Pods may refer to it.
    Object,
    /// It is noted: only a cluster does something with it.
    Noted,
}

const WORKLOADS: &[&str] = &[
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
];

const OBJECTS: &[&str] =
    &["ConfigMap", "PersistentVolume", "PersistentVolumeClaim", "Secret", "Service"];

const NOTED: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "HorizontalPodAutoscaler",
    "Ingress",
    "IngressClass",
    "Lease",
    "LimitRange",
    "MutatingWebhookConfiguration",
    "Namespace",
    "NetworkPolicy",
    "Node",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "ServiceAccount",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeSnapshotClass",
];

/// What a document is. One that names no kind is read as a Pod, whose reader says what is missing.
pub fn of(node: &YamlNode) -> Read<Kind> {
    let Some((kind, line)) = text(node, "kind") else { return Ok(Kind::Pod) };
    let is = |words: &[&str]| words.contains(&kind);
    if kind == "Pod" {
        return Ok(Kind::Pod);
    }
    if is(WORKLOADS) {
        return Ok(Kind::Workload);
    }
    if is(OBJECTS) {
        return Ok(Kind::Object);
    }
    if is(NOTED) || is_custom(node) {
        return Ok(Kind::Noted);
    }
    if kind.ends_with("List") {
        return Err(Fault::at(line, "items", "is required"));
    }
    let known = WORKLOADS.iter().chain(OBJECTS).chain(NOTED).copied().chain(["Pod", "List"]);
    let meant = nearest(kind, known).map(|meant| format!(", did you mean {meant}?"));
    let text = format!("no kind {kind:?} is known{}", meant.unwrap_or_default());
    Err(Fault::at(line, "kind", text))
}

/// Of a group that Kubernetes itself has not: made by whoever extends a cluster.
fn is_custom(node: &YamlNode) -> bool {
    let version = text(node, "apiVersion").map_or("", |(text, _)| text);
    version
        .split_once('/')
        .is_some_and(|(group, _)| group.contains('.') && !group.ends_with(".k8s.io"))
}

/// `kind name` of a document that is only noted.
pub fn title(node: &YamlNode) -> String {
    let kind = text(node, "kind").map_or("", |(kind, _)| kind);
    let name = field(node, "metadata").and_then(|(meta, _)| text(meta, "name"));
    format!("{kind} {}", name.map_or("", |(name, _)| name)).trim_end().to_owned()
}

fn field<'a>(node: &'a YamlNode, name: &str) -> Option<(&'a YamlNode, usize)> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, ..)| key == name).map(|(_, line, node)| (node, *line))
}

fn text<'a>(node: &'a YamlNode, name: &str) -> Option<(&'a str, usize)> {
    match field(node, name) {
        Some((YamlNode { value: Value::Text(text), .. }, line)) => Some((text, line)),
        _ => None,
    }
}
