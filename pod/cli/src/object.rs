//! A pod as the API has it.

use rrun_pod::status;
use rrun_pod::supervise::Entry;
use serde_json::{Value, json};

/// Who a pod is and how it is. What was asked for stands in its manifest.
pub fn of(entry: &Entry) -> Value {
    let status = entry.state.as_ref().map(|state| status::to_json(&state.status, "rrun"));
    let meta = entry.pod().map(|pod| pod.meta);
    let (labels, annotations) =
        meta.map(|meta| (meta.labels, meta.annotations)).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": entry.name,
            "namespace": entry.namespace,
            "uid": entry.uid.as_str(),
            "labels": labels,
            "annotations": annotations,
        },
        "status": status.unwrap_or_else(|| json!({"phase": entry.phase().as_str()})),
    })
}
