//! `rrun gc containers`

use crate::context::Context;
use crate::runtime::Runtime;
use crate::table;
use anyhow::{Result, bail};
use rrun_pod::gc::policy::GcPolicy;
use rrun_pod::supervise::container_gc::Collected;
use std::process::ExitCode;

/// Collects dead containers over all pods, and prints what was removed and why.
pub async fn containers(context: &Context, policy: GcPolicy, dry_run: bool) -> Result<ExitCode> {
    let runtime = Runtime::without_pods(context).await?;
    let done = runtime.container_gc(context, policy).collect(dry_run).await?;
    table::print(&rows(&done))?;
    for folder in &done.log_folders {
        let verb = if dry_run { "would remove" } else { "removed" };
        table::write(&format!("{verb} logs of a pod that is gone: {folder}\n"))?;
    }
    if !done.errors.is_empty() {
        bail!("{}", done.errors.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(done: &Collected) -> Vec<[String; 5]> {
    let mut rows = vec![["POD", "CONTAINER", "ID", "CREATED", "WHY"].map(String::from)];
    for (pod, dead, cause) in &done.containers {
        let id = dead.id.chars().take(13).collect();
        let created = dead.created_at.to_string();
        rows.push([pod.clone(), dead.name.clone(), id, created, cause.to_string()]);
    }
    rows
}
