//! Environment variables and the objects they come from.

use std::collections::BTreeMap;

use crate::quantity::Quantity;

/// A ConfigMap document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// Text and binary entries; a key is in one of the two only.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Keys that came from `binaryData`: never in an environment.
    pub binary: Vec<String>,
    /// Whether the data of it may not change any more.
    pub immutable: bool,
}

/// A Secret document, decoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// `Opaque`, `kubernetes.io/dockerconfigjson`, …
    pub kind: String,
    /// Decoded values.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Whether they may not change any more.
    pub immutable: bool,
}

/// Values stay out of logs and panics.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&String> = self.data.keys().collect();
        f.debug_struct("Secret").field("kind", &self.kind).field("keys", &keys).finish()
    }
}

/// A ConfigMap or a Secret, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectSource {
    /// `configMapRef`, `configMapKeyRef`.
    ConfigMap(String),
    /// `secretRef`, `secretKeyRef`.
    Secret(String),
}

/// One entry of `envFrom`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFrom {
    /// Put before each key.
    pub prefix: String,
    /// Which object.
    pub source: ObjectSource,
    /// Absence is no error.
    pub optional: bool,
}

/// One entry of `env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub source: EnvSource,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvSource {
    /// Text with `$(VAR)`.
    Value(String),
    /// A field of the pod.
    Field(FieldRef),
    /// An amount of a container's resources.
    Resource(ResourceFieldRef),
    /// One key of an object.
    Key {
        /// The object.
        object: ObjectSource,
        /// The key in it.
        key: String,
        /// Absence leaves the variable out.
        optional: bool,
    },
    /// A variable of a file in a volume.
    File(FileKeyRef),
}

/// `fileKeyRef`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileKeyRef {
    /// The volume, an `emptyDir`.
    pub volume: String,
    /// Below the volume's root.
    pub path: String,
    /// The variable.
    pub key: String,
    /// Absence leaves the variable out.
    pub optional: bool,
}

/// Which field of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRef(pub PodField);

/// The fields that the downward API serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodField {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `metadata.uid`
    Uid,
    /// `metadata.labels` (volumes only)
    Labels,
    /// `metadata.annotations` (volumes only)
    Annotations,
    /// `metadata.labels['key']`
    Label(String),
    /// `metadata.annotations['key']`
    Annotation(String),
    /// `spec.nodeName`
    NodeName,
    /// `spec.serviceAccountName`
    ServiceAccountName,
    /// `status.hostIP`
    HostIp,
    /// `status.hostIPs`
    HostIps,
    /// `status.podIP`
    PodIp,
    /// `status.podIPs`
    PodIps,
}

impl PodField {
    /// Reads a `fieldPath`.
    pub fn parse(path: &str) -> Option<Self> {
        Some(match path {
            "metadata.name" => PodField::Name,
            "metadata.namespace" => PodField::Namespace,
            "metadata.uid" => PodField::Uid,
            "metadata.labels" => PodField::Labels,
            "metadata.annotations" => PodField::Annotations,
            "spec.nodeName" => PodField::NodeName,
            "spec.serviceAccountName" => PodField::ServiceAccountName,
            "status.hostIP" => PodField::HostIp,
            "status.hostIPs" => PodField::HostIps,
            "status.podIP" => PodField::PodIp,
            "status.podIPs" => PodField::PodIps,
            _ => {
                let key = |prefix: &str| {
                    let quoted = path.strip_prefix(prefix)?.strip_suffix("']")?;
                    crate::ids::key_fault(quoted).is_none().then(|| quoted.to_owned())
                };
                return key("metadata.labels['")
                    .map(PodField::Label)
                    .or_else(|| key("metadata.annotations['").map(PodField::Annotation));
            }
        })
    }
}

/// `cpu`, `memory`, `ephemeral-storage`, `hugepages-2Mi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceName {
    /// Cores.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes.
    EphemeralStorage,
    /// Bytes in pages of a size such as `2Mi`.
    HugePages(String),
}

/// Which amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceField {
    /// The limit, or what the node has.
    Limit(ResourceName),
    /// The request, or 0.
    Request(ResourceName),
}

/// `resourceFieldRef`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceFieldRef {
    /// Whose; in an environment, the container's own if absent.
    pub container: Option<String>,
    /// Which amount.
    pub field: ResourceField,
    /// The unit, never 0.
    pub divisor: Quantity,
}
