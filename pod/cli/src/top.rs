//! `rrun top` and `rrun stats`: what the containers of pods use now.

mod live;
mod sample;
mod shown;

use crate::args::{self, Output, TopField};
use crate::context::Context;
use crate::{table, terminal};
use anyhow::{Result, bail};
use rrun_pod::supervise::Entry;
use sample::{Sample, Use, uses};
use serde_json::json;
use shown::{as_json, of_containers, of_pods, wide};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// Over how long CPU is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// How long a runtime is waited for: it may be in a process that hangs.
const ANSWER: Duration = Duration::from_secs(5);

/// Which pods are meant, and in which order.
pub struct Asked<'a> {
    pods: &'a [String],
    namespace: Option<&'a String>,
    by: Option<TopField>,
}

/// Shows what pods use: on a terminal again and again.
pub async fn top(context: &Context, args: &args::Top) -> Result<ExitCode> {
    let (pods, namespace) = (&args.pods[..], args.namespace.as_ref());
    let asked = Asked { pods, namespace, by: args.sort_by };
    let tables = args.output.is_none();
    if tables && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        return live::live(context, asked).await;
    }
    let (uses, code) = once(context, &asked).await?;
    if tables && args.containers {
        table::print(&of_containers(uses, asked.by))?;
    } else if tables {
        table::print(&of_pods(&uses, asked.by))?;
    } else {
        json(&uses)?;
    }
    Ok(code)
}

/// Prints once what containers use.
pub async fn stats(context: &Context, args: &args::Stats) -> Result<ExitCode> {
    let (pods, namespace) = (&args.pods[..], args.namespace.as_ref());
    let (uses, code) = once(context, &Asked { pods, namespace, by: args.sort_by }).await?;
    match args.output {
        Some(Output::Json) => json(&uses)?,
        None => table::print(&wide(uses, args.sort_by))?,
    }
    Ok(code)
}

fn json(uses: &[Use]) -> Result<()> {
    let items: Vec<_> = uses.iter().map(as_json).collect();
    Ok(table::write(&crate::json::pretty(&json!({ "containers": items }))?)?)
}

/// What is used within a second. A pod of which that is not known is told, and is in the exit code.
async fn once(context: &Context, asked: &Asked<'_>) -> Result<(Vec<Use>, ExitCode)> {
    let pods = pods(context, asked).await?;
    let before = Sample::take(context, pods, ANSWER).await;
    tokio::time::sleep(WINDOW).await;
    let again = before.answered.iter().map(|(pod, _)| pod.clone()).collect();
    let after = Sample::take(context, again, ANSWER).await;
    let mut code = ExitCode::SUCCESS;
    for (pod, error) in before.failed.iter().chain(&after.failed) {
        terminal::tell(format_args!("pod {pod}: {error:#}"));
        code = ExitCode::from(2);
    }
    Ok((uses(&before, after), code))
}

/// Those that are asked for and have not ended.
async fn pods(context: &Context, asked: &Asked<'_>) -> Result<Vec<Entry>> {
    if asked.pods.is_empty() {
        let mut all = context.pods().await?;
        let is_in = |pod: &Entry| asked.namespace.is_none_or(|place| *place == pod.namespace);
        all.retain(|pod| is_in(pod) && !pod.phase().is_terminal());
        return Ok(all);
    }
    let mut found = Vec::new();
    for name in asked.pods {
        let pod = context.store.find(name).await?;
        if pod.phase().is_terminal() {
            bail!("pod {}: it has ended", pod.full_name());
        }
        found.push(pod);
    }
    Ok(found)
}
