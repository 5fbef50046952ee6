//! `rrun stop` and `rrun rm`: by the process that runs the pod, else by this one.

use crate::control::{self, Order};
use crate::node;
use crate::run::forget;
use crate::shelf::{self, Entry, Held};
use anyhow::{Result, bail};
use rrun_cri::config::Config;
use rrun_pod::status::to_json;
use std::process::ExitCode;
use std::sync::Arc;

/// Stops a pod and waits until it has ended.
pub async fn stop(config: Arc<Config>, pod: &str, grace: Option<u32>) -> Result<ExitCode> {
    let entry = shelf::find(&config, pod)?;
    let Some(held) = Held::existing(&config, &entry).await? else {
        control::ask(&config, &entry, Order::Stop(grace)).await?;
        return Ok(ExitCode::SUCCESS);
    };
    if !held.entry.ended() {
        end(&config, held, grace).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes up a pod that nobody runs any more, only to end it.
async fn end(config: &Arc<Config>, mut held: Held, grace: Option<u32>) -> Result<()> {
    let pod = held.entry.pod(config)?;
    let node = node::open(config, &held.entry.uid).await?;
    let handle = node.pods.run(pod);
    handle.stop(grace);
    let status = handle.wait().await;
    held.entry.status = to_json(&status, node.pods.runtime_name());
    held.keep()
}

/// Removes a pod; one that runs only with `force`.
pub async fn remove(config: Arc<Config>, pod: &str, force: bool) -> Result<ExitCode> {
    let entry = shelf::find(&config, pod)?;
    let Some(held) = Held::existing(&config, &entry).await? else {
        refuse_running(&entry, force)?;
        control::ask(&config, &entry, Order::Remove).await?;
        return Ok(ExitCode::SUCCESS);
    };
    if !held.entry.ended() {
        refuse_running(&entry, force)?;
    }
    let pod = held.entry.pod(&config)?;
    let node = node::open(&config, &held.entry.uid).await?;
    forget(&node, &pod, held).await?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_running(entry: &Entry, force: bool) -> Result<()> {
    if !force {
        bail!("pod {}/{}: it runs: stop it first, or use --force", entry.namespace, entry.name);
    }
    Ok(())
}
