//! A pod as the API has it.

use rrun_pod::status;
use rrun_pod::supervise::Entry;
use serde_json::{Value, json};

/// Who a pod is, what its manifest says and how it is.
pub fn whole(entry: &Entry) -> Value {
    let mut pod = of(entry);
    if let Some(spec) = entry.definition.spec() {
        pod["spec"] = spec;
    }
    pod
}

/// Who a pod is and how it is. What was asked for stands in its manifest.
pub fn of(entry: &Entry) -> Value {
    let status = entry.state.as_ref().map(|state| status::to_json(&state.status, "rrun"));
    let meta = entry.pod().map(|pod| pod.meta);
    let (labels, annotations) =
        meta.map(|meta| (meta.labels, meta.annotations)).unwrap_or_default();
    let mut annotations = annotations;
    if entry.definition.file.is_some() {
        // As the kubelet marks a pod of a file.
        annotations.insert("kubernetes.io/config.source".to_owned(), "file".to_owned());
    }
    let mut metadata = json!({
        "name": entry.name,
        "namespace": entry.namespace,
        "uid": entry.uid.as_str(),
        "labels": labels,
        "annotations": annotations,
    });
    if let Some(state) = &entry.state {
        metadata["creationTimestamp"] = json!(state.status.start_time.to_string());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "status": status.unwrap_or_else(|| json!({"phase": entry.phase().as_str()})),
    })
}

/// Several, as the API lists them.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
