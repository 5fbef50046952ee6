//! A status in the API's own JSON, for `-o json` and for comparing with a kubelet's.

use serde_json::{Map, Value, json};

use super::{Condition, ContainerStatus, PodStatus, State, Terminated};
use crate::clock::Timestamp;

/// As `kubectl get pod -o json` shows `.status`; `runtime` is the scheme of container ids.
pub fn to_json(status: &PodStatus, runtime: &str) -> Value {
    let ips = |list: &[String]| -> Value { list.iter().map(|ip| json!({"ip": ip})).collect() };
    let mut out = json!({
        "phase": status.phase.as_str(),
        "conditions": status.conditions.iter().map(condition).collect::<Value>(),
        "startTime": status.start_time.to_string(),
        "qosClass": status.qos.as_str(),
        "containerStatuses":
            status.containers.iter().map(|c| container(c, runtime)).collect::<Value>(),
    });
    if let Value::Object(fields) = &mut out {
        text(fields, "reason", &status.reason);
        text(fields, "message", &status.message);
        if let Some(first) = status.host_ips.first() {
            fields.insert("hostIP".into(), json!(first));
            fields.insert("hostIPs".into(), ips(&status.host_ips));
        }
        if let Some(first) = status.pod_ips.first() {
            fields.insert("podIP".into(), json!(first));
            fields.insert("podIPs".into(), ips(&status.pod_ips));
        }
        if !status.init_containers.is_empty() {
            let list = status.init_containers.iter().map(|c| container(c, runtime)).collect();
            fields.insert("initContainerStatuses".into(), list);
        }
    }
    out
}

fn text(fields: &mut Map<String, Value>, key: &str, value: &str) {
    if !value.is_empty() {
        fields.insert(key.to_owned(), json!(value));
    }
}

fn time(at: Timestamp) -> Value {
    if at.is_zero() { Value::Null } else { json!(at.to_string()) }
}

fn condition(condition: &Condition) -> Value {
    let mut fields = Map::new();
    text(&mut fields, "type", &condition.kind);
    fields.insert("status".into(), json!(if condition.status { "True" } else { "False" }));
    text(&mut fields, "reason", &condition.reason);
    text(&mut fields, "message", &condition.message);
    fields.insert("lastTransitionTime".into(), time(condition.since));
    Value::Object(fields)
}

fn container(status: &ContainerStatus, runtime: &str) -> Value {
    let id = status.container_id.as_ref().map(|id| format!("{runtime}://{id}"));
    let last = status.last.as_ref().map_or(json!({}), |end| terminated(end, runtime));
    let mut out = json!({
        "name": status.name,
        "state": state(&status.state, runtime),
        "lastState": last,
        "ready": status.ready,
        "restartCount": status.restart_count,
        "image": status.image,
        "imageID": status.image_id,
        "started": status.started.unwrap_or(false),
    });
    if let Some(id) = id {
        out["containerID"] = json!(id);
    }
    out
}

fn state(state: &State, runtime: &str) -> Value {
    match state {
        State::Waiting { reason, message } => {
            let mut fields = Map::new();
            text(&mut fields, "reason", reason);
            text(&mut fields, "message", message);
            json!({"waiting": fields})
        }
        State::Running { started_at } => json!({"running": {"startedAt": time(*started_at)}}),
        State::Terminated(end) => terminated(end, runtime),
    }
}

fn terminated(end: &Terminated, runtime: &str) -> Value {
    let mut fields = Map::new();
    fields.insert("exitCode".into(), json!(end.exit_code));
    text(&mut fields, "reason", &end.reason);
    text(&mut fields, "message", &end.message);
    fields.insert("startedAt".into(), time(end.started_at));
    fields.insert("finishedAt".into(), time(end.finished_at));
    if !end.container_id.is_empty() {
        fields.insert("containerID".into(), json!(format!("{runtime}://{}", end.container_id)));
    }
    json!({"terminated": fields})
}
