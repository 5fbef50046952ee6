//! `rrun ps`

use crate::context::Context;
use crate::table;
use anyhow::Result;
use rrun_pod::state::Ending;
use rrun_pod::status::{Summary, summarize};
use rrun_pod::supervise::Entry;
use std::process::ExitCode;

/// Lists the pods, with `all` also those that have ended.
pub fn ps(context: &Context, all: bool) -> Result<ExitCode> {
    let mut pods = context.pods()?;
    pods.retain(|pod| all || !pod.phase().is_terminal());
    let head = ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "IP", "UID"].map(String::from);
    let rows = pods.iter().map(|pod| row(pod, context.store.is_locked(pod)));
    table::print(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
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
