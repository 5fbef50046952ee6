//! `rrun inspect`: pods and their containers as the runtime has them.

use crate::args;
use crate::context::Context;
use crate::runtime::reach;
use crate::{object, table, terminal};
use anyhow::{Context as _, Result};
use rrun_cri_api::{Cri, v1};
use rrun_pod::clock::Timestamp;
use rrun_pod::supervise::Entry;
use rrun_pod::translate::labels;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Prints all that is known of pods. One that cannot be told of keeps the others from nothing.
pub async fn inspect(context: &Context, args: &args::Inspect) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for name in &args.pods {
        let entry = context.store.find(name).await;
        let looked = async { pod(context, &entry?, args.container.as_deref()).await };
        match looked.await.with_context(|| format!("inspect {name}")) {
            Ok(pod) => found.push(pod),
            Err(error) => {
                terminal::tell(format_args!("{error:#}"));
                code = ExitCode::from(2);
            }
        }
    }
    table::write(&crate::json::pretty(&Value::Array(found))?)?;
    Ok(code)
}

async fn pod(context: &Context, entry: &Entry, only: Option<&str>) -> Result<Value> {
    let of = reach(context, entry).await?;
    let cri = &*of.cri;
    let label_selector: BTreeMap<_, _> =
        [(labels::POD_UID.to_owned(), entry.uid.to_string())].into();
    let filter = v1::ContainerFilter {
        label_selector: label_selector.clone().into_iter().collect(),
        ..Default::default()
    };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    let listed = cri.list_containers(request).await?.containers;
    let name = |one: &v1::Container| one.metadata.as_ref().map(|meta| meta.name.clone());
    let meant = |one: &&v1::Container| only.is_none() || name(one).as_deref() == only;
    let mut containers = Vec::new();
    for one in listed.iter().filter(meant) {
        containers.extend(container(cri, &one.id).await?);
    }
    if let (Some(only), true) = (only, containers.is_empty()) {
        anyhow::bail!("container {only}: the runtime has none of that name");
    }
    let filter = v1::PodSandboxFilter {
        label_selector: label_selector.into_iter().collect(),
        ..Default::default()
    };
    let request = v1::ListPodSandboxRequest { filter: Some(filter) };
    let mut sandboxes = Vec::new();
    for one in cri.list_pod_sandbox(request).await?.items {
        sandboxes.extend(sandbox(cri, &one.id).await?);
    }
    let mut all = object::of(entry);
    all["endpoint"] = json!(entry.definition.endpoint);
    all["sandboxes"] = Value::Array(sandboxes);
    all["containers"] = Value::Array(containers);
    Ok(all)
}

/// None of one that has gone meanwhile.
async fn container(cri: &dyn Cri, id: &str) -> Result<Option<Value>> {
    let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let reply = match cri.container_status(request).await {
        Err(e) if e.code() == tonic::Code::NotFound => return Ok(None),
        reply => reply?,
    };
    let Some(status) = reply.status else { return Ok(None) };
    let info = info(reply.info);
    let (meta, image) = (status.metadata.clone().unwrap_or_default(), status.image.clone());
    Ok(Some(json!({
        "id": status.id,
        "name": meta.name,
        "attempt": meta.attempt,
        "pid": info["info"]["pid"],
        "status": {
            "state": status.state().as_str_name(),
            "createdAt": time(status.created_at),
            "startedAt": time(status.started_at),
            "finishedAt": time(status.finished_at),
            "exitCode": status.exit_code,
            "reason": status.reason,
            "message": status.message,
            "image": image.map(|image| image.image),
            "imageRef": status.image_ref,
            "imageId": status.image_id,
            "logPath": status.log_path,
            "labels": status.labels,
            "annotations": status.annotations,
        },
        "mounts": status.mounts.iter().map(mount).collect::<Vec<_>>(),
        "info": info,
    })))
}

fn mount(mount: &v1::Mount) -> Value {
    json!({
        "containerPath": mount.container_path,
        "hostPath": mount.host_path,
        "readonly": mount.readonly,
        "propagation": mount.propagation().as_str_name(),
        "image": mount.image.as_ref().map(|image| image.image.clone()),
    })
}

async fn sandbox(cri: &dyn Cri, id: &str) -> Result<Option<Value>> {
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
    let reply = match cri.pod_sandbox_status(request).await {
        Err(e) if e.code() == tonic::Code::NotFound => return Ok(None),
        reply => reply?,
    };
    let Some(status) = reply.status else { return Ok(None) };
    let network = status.network.clone().unwrap_or_default();
    let more = network.additional_ips.iter().map(|ip| ip.ip.clone());
    let ips: Vec<String> =
        std::iter::once(network.ip.clone()).filter(|ip| !ip.is_empty()).chain(more).collect();
    Ok(Some(json!({
        "id": status.id,
        "state": status.state().as_str_name(),
        "createdAt": time(status.created_at),
        "ips": ips,
        "runtimeHandler": status.runtime_handler,
        "info": info(reply.info),
    })))
}

fn time(nanos: i64) -> Value {
    if nanos == 0 { Value::Null } else { json!(Timestamp::from_nanos(nanos).to_string()) }
}

/// What a runtime says beside the status: JSON in text, or text.
fn info(info: impl IntoIterator<Item = (String, String)>) -> Value {
    let read = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let fields: Map<String, Value> =
        info.into_iter().map(|(key, text)| (key, read(text))).collect();
    Value::Object(fields)
}
