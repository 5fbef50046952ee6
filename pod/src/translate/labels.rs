//! Labels and annotations: the only database there is. What is not in them is not known after a
//! restart (`kuberuntime/labels.go`).

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::model::{Container, Handler, Meta, Pod, PortRef, Scheme, TerminationMessagePolicy};

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of name and image, hexadecimal.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was started before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: path in the container.
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: seconds.
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
const PORTS: &str = "io.kubernetes.container.ports";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";

/// The sandbox's labels: the pod's own and ours.
pub fn pod(meta: &Meta) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> =
        meta.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    labels.extend(identity(meta));
    labels
}

/// A container's labels.
pub fn container(meta: &Meta, name: &str) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = identity(meta).collect();
    labels.insert(CONTAINER_NAME.to_owned(), name.to_owned());
    labels
}

/// The label selector that finds everything of a pod.
pub fn selector(meta: &Meta) -> BTreeMap<String, String> {
    BTreeMap::from([(POD_UID.to_owned(), meta.uid.to_string())])
}

fn identity(meta: &Meta) -> impl Iterator<Item = (String, String)> {
    [
        (POD_NAME.to_owned(), meta.name.clone()),
        (POD_NAMESPACE.to_owned(), meta.namespace.clone()),
        (POD_UID.to_owned(), meta.uid.to_string()),
    ]
    .into_iter()
}

/// A container's annotations.
pub fn annotations(
    pod: &Pod,
    container: &Container,
    restart_count: u32,
) -> BTreeMap<String, String> {
    let policy = match container.termination_message_policy {
        TerminationMessagePolicy::File => "File",
        TerminationMessagePolicy::FallbackToLogsOnError => "FallbackToLogsOnError",
    };
    let mut all: BTreeMap<&str, String> = BTreeMap::from([
        (HASH, hash(container)),
        (RESTART_COUNT, restart_count.to_string()),
        (MESSAGE_PATH, container.termination_message_path.clone()),
        (MESSAGE_POLICY, policy.to_owned()),
        (GRACE, pod.spec.termination_grace_period.to_string()),
    ]);
    if let Some(hook) = &container.lifecycle.pre_stop {
        all.insert(PRE_STOP, handler(hook).to_string());
    }
    if !container.ports.is_empty() {
        all.insert(PORTS, ports(container).to_string());
    }
    all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Changes when the container must be made anew: name and image only, as with the kubelet.
pub fn hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(container.name.as_bytes());
    hash.update([0]);
    hash.update(container.image.as_bytes());
    hash.finalize().iter().take(4).map(|b| format!("{b:02x}")).collect()
}

fn ports(container: &Container) -> serde_json::Value {
    let ports = container.ports.iter().map(|p| {
        let protocol = p.protocol.as_str();
        let mut port = json!({"containerPort": p.container_port, "protocol": protocol});
        if let Some(name) = &p.name {
            port["name"] = json!(name);
        }
        if p.host_port != 0 {
            port["hostPort"] = json!(p.host_port);
        }
        port
    });
    ports.collect()
}

fn handler(handler: &Handler) -> serde_json::Value {
    let number = |port: &PortRef| match port {
        PortRef::Number(n) => json!(n),
        PortRef::Name(name) => json!(name),
    };
    match handler {
        Handler::Exec(command) => json!({"exec": {"command": command}}),
        Handler::HttpGet(get) => json!({"httpGet": {
            "path": get.path,
            "port": number(&get.port),
            "scheme": if get.scheme == Scheme::Https { "HTTPS" } else { "HTTP" },
        }}),
        Handler::TcpSocket { port, .. } => json!({"tcpSocket": {"port": number(port)}}),
        Handler::Grpc { port, .. } => json!({"grpc": {"port": port}}),
        Handler::Sleep(time) => json!({"sleep": {"seconds": time.as_secs()}}),
    }
}
