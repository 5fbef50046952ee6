//! `rrun ps`

use crate::context::Context;
use crate::table;
use anyhow::Result;
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
    let status = pod.state.as_ref().map(|state| &state.status);
    let (regular, init) = match status {
        Some(status) => (&status.containers[..], &status.init_containers[..]),
        None => (&[][..], &[][..]),
    };
    let ready = regular.iter().filter(|container| container.ready).count();
    let restarts: u32 = regular.iter().chain(init).map(|container| container.restart_count).sum();
    // What runs without its rrun is not probed and not restarted.
    let unattended = !pod.phase().is_terminal() && !attended;
    let phase = if unattended { "Unattended" } else { pod.phase().as_str() };
    let address = status.and_then(|status| status.pod_ips.first().cloned());
    [
        pod.namespace.clone(),
        pod.name.clone(),
        format!("{ready}/{}", regular.len()),
        phase.to_owned(),
        restarts.to_string(),
        address.unwrap_or_else(|| "-".to_owned()),
        pod.uid.to_string(),
    ]
}
