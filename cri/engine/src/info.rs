//! The `info` of verbose status, under the keys that agents know from containerd.

use crate::blocking::blocking;
use crate::error::{Context, Error, Result};
use crate::phase::ContainerPhase;
use crate::table::{Container, Pod, Shared};
use serde_json::{Value, json};
use std::sync::Arc;

/// `info` of a pod.
pub(crate) fn pod(engine: &Shared, pod: &Pod) -> Value {
    let record = pod.record();
    let mut pins: Vec<Value> = Vec::new();
    if let Some(path) = &record.netns {
        pins.push(json!({"type": "network", "path": path}));
    }
    // Never the shim's: whoever enters the namespaces of that process would be on the host.
    let init = || {
        let rows = engine.table.containers_of(&pod.id);
        let running = |row: &Arc<Container>| row.record().phase == ContainerPhase::Running;
        rows.into_iter().find(running).map(|row| row.record().pid)
    };
    json!({
        "pid": record.reaper.or_else(init).unwrap_or(0),
        "processStatus": if record.phase == crate::PodPhase::Ready { "running" } else { "exited" },
        "netNamespaceClosed": record.phase == crate::PodPhase::Stopped,
        "image": "",
        "snapshotKey": "",
        "snapshotter": "overlayfs",
        "runtimeHandler": record.handler,
        "runtimeType": "rrun",
        "runtimeOptions": null,
        "config": record.config.as_ref(),
        "runtimeSpec": {
            "hostname": record.config.hostname,
            "linux": {
                "cgroupsPath": record.cgroup,
                "namespaces": pins,
            },
            "annotations": record.config.annotations,
        },
        "cniResult": {"ips": record.ips},
    })
}

/// `info` of a container.
pub(crate) async fn container(pod: &Pod, container: &Container) -> Result<Value> {
    let path = pod.dirs.spec(&container.id);
    let spec: Value = blocking(move || {
        let what = || format!("read {}", path.display());
        let text = rrun_sys::record::read(&path).context(what)?;
        serde_json::from_slice(&text).map_err(|e| Error::internal(e.to_string())).context(what)
    })
    .await?;
    let record = container.record();
    Ok(json!({
        "sandboxID": record.pod,
        "pid": record.pid,
        "removing": record.phase == ContainerPhase::Removing,
        "snapshotKey": record.id,
        "snapshotter": "overlayfs",
        "runtimeType": "rrun",
        "runtimeOptions": null,
        "config": record.config.as_ref(),
        "runtimeSpec": spec,
    }))
}
