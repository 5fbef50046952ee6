//! A status in the API's own JSON, for `-o json` and for comparing with a kubelet's.

use serde_json::{Map, Value, json};

use super::{
    Amounts, Condition, ContainerStatus, MountStatus, PodStatus, ResourceStatus, State, Terminated,
};
use crate::clock::Timestamp;

/// As `kubectl get pod -o json` shows `.status`; `runtime` is the scheme of container ids.
pub fn to_json(status: &PodStatus, runtime: &str) -> Value {
    let ips = |list: &[String]| -> Value { list.iter().map(|ip| json!({"ip": ip})).collect() };
    let mut out = json!({
        "phase": status.phase.as_str(),
        "conditions": conditions(status),
        "startTime": status.start_time.to_string(),
        "qosClass": status.qos.as_str(),
        "containerStatuses":
            status.containers.iter().map(|c| container(c, runtime)).collect::<Value>(),
    });
    if let Value::Object(fields) = &mut out {
        generation(fields, status);
        fields.insert("resources".into(), resources(&status.resources));
        amounts(fields, "allocatedResources", &status.resources.requests);
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
        if !status.ephemeral.is_empty() {
            let list = status.ephemeral.iter().map(|c| container(c, runtime)).collect();
            fields.insert("ephemeralContainerStatuses".into(), list);
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

fn generation(fields: &mut Map<String, Value>, status: &PodStatus) {
    if status.observed_generation != 0 {
        fields.insert("observedGeneration".into(), json!(status.observed_generation));
    }
}

fn amounts(fields: &mut Map<String, Value>, key: &str, amounts: &Amounts) {
    if !amounts.is_empty() {
        fields.insert(key.to_owned(), json!(amounts));
    }
}

fn resources(resources: &ResourceStatus) -> Value {
    let mut fields = Map::new();
    amounts(&mut fields, "limits", &resources.limits);
    amounts(&mut fields, "requests", &resources.requests);
    Value::Object(fields)
}

fn conditions(status: &PodStatus) -> Value {
    status.conditions.iter().map(|one| condition(one, status)).collect()
}

fn condition(condition: &Condition, status: &PodStatus) -> Value {
    let mut fields = Map::new();
    generation(&mut fields, status);
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
    let Value::Object(fields) = &mut out else { return out };
    if let Some(id) = id {
        fields.insert("containerID".into(), json!(id));
    }
    if let Some(found) = &status.resources {
        fields.insert("resources".into(), resources(found));
    }
    amounts(fields, "allocatedResources", &status.allocated_resources);
    if let Some(user) = &status.user {
        let mut linux = json!({"uid": user.uid, "gid": user.gid});
        if !user.supplemental_groups.is_empty() {
            linux["supplementalGroups"] = json!(user.supplemental_groups);
        }
        fields.insert("user".into(), json!({"linux": linux}));
    }
    if !status.volume_mounts.is_empty() {
        fields.insert("volumeMounts".into(), status.volume_mounts.iter().map(mount).collect());
    }
    out
}

fn mount(mount: &MountStatus) -> Value {
    let mut out = json!({"name": mount.name, "mountPath": mount.mount_path});
    if mount.read_only {
        out["readOnly"] = json!(true);
    }
    if let Some(recursive) = mount.recursive_read_only {
        out["recursiveReadOnly"] = json!(if recursive { "Enabled" } else { "Disabled" });
    }
    if let Some(image) = &mount.image_ref {
        out["volumeStatus"] = json!({"image": {"imageRef": image}});
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
    // A run that never started did so at the epoch, to the kubelet; of one that nobody knows any
    // more it says nothing.
    let at = |at: Timestamp| {
        if end.container_id.is_empty() { time(at) } else { json!(at.to_string()) }
    };
    fields.insert("startedAt".into(), at(end.started_at));
    fields.insert("finishedAt".into(), at(end.finished_at));
    if !end.container_id.is_empty() {
        fields.insert("containerID".into(), json!(format!("{runtime}://{}", end.container_id)));
    }
    json!({"terminated": fields})
}
