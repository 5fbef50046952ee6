//! `rrun ps`

use crate::args::{Ps, PsOutput};
use crate::context::Context;
use crate::{object, table};
use anyhow::Result;
use rrun_pod::state::Ending;
use rrun_pod::status::{Summary, summarize};
use rrun_pod::supervise::Entry;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Lists the pods, those that have ended only if they are asked for.
pub async fn ps(context: &Context, asked: &Ps) -> Result<ExitCode> {
    let mut pods = context.pods().await?;
    let is_in = |pod: &Entry| asked.namespace.as_ref().is_none_or(|place| *place == pod.namespace);
    pods.retain(|pod| is_in(pod) && (asked.all || !pod.phase().is_terminal()));
    match asked.output {
        None => {}
        Some(PsOutput::Json) => {
            let items: Vec<Value> = pods.iter().map(object::of).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            table::write(&format!("{list:#}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(PsOutput::Name) => {
            let names: String = pods.iter().map(|pod| format!("pod/{}\n", pod.name)).collect();
            table::write(&names)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let head = ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "IP", "UID"].map(String::from);
    let mut rows = vec![head];
    for pod in &pods {
        rows.push(row(pod, context.store.is_locked(pod).await));
    }
    table::print(&rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(pod: &Entry, attended: bool) -> [String; 7] {
    let state = pod.state.as_ref();
    let summary = state.zip(pod.pod().ok()).map(|(state, defined)| {
        summarize(&defined.spec, &state.status, state.ending != Ending::No)
    });
    let (ready, restarts, mut reason) = match summary {
        Some(Summary { ready, total, reason, restarts }) => {
            (format!("{ready}/{total}"), restarts, reason)
        }
        None => ("0/0".to_owned(), 0, pod.phase().as_str().to_owned()),
    };
    // What runs without its rrun is not probed and not restarted.
    if !pod.phase().is_terminal() && !attended {
        reason = "Unattended".to_owned();
    }
    let address = state.and_then(|state| state.status.pod_ips.first().cloned());
    [
        pod.namespace.clone(),
        pod.name.clone(),
        ready,
        reason,
        restarts.to_string(),
        address.unwrap_or_else(|| "-".to_owned()),
        pod.uid.to_string(),
    ]
}
