//! `rrun ps`

use crate::args::{Ps, PsOutput};
use crate::context::Context;
use crate::row::Row;
use crate::terminal::Told;
use crate::watch::{Line, watch};
use crate::{object, table, yaml};
use anyhow::Result;
use rrun_pod::supervise::Entry;
use serde_json::Value;
use std::process::ExitCode;

/// Lists the pods, those that have ended only if they are asked for.
pub async fn ps(context: &Context, asked: &Ps) -> Result<ExitCode> {
    if asked.watch {
        let mut told = Told::default();
        let look = async || {
            let mut lines = Vec::new();
            for pod in pods(context, asked, &mut told).await? {
                let row = Row::of(context, &pod).await;
                let cells = cells(&row);
                let changes = cells[..7].join(" ");
                lines.push(Line { uid: row.uid, changes, cells });
            }
            Ok(lines)
        };
        watch(Some(head()), look).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let pods = pods(context, asked, &mut Told::default()).await?;
    match asked.output {
        None => {
            let mut rows = vec![head()];
            for pod in &pods {
                rows.push(cells(&Row::of(context, pod).await));
            }
            table::print(&rows)?;
        }
        Some(PsOutput::Wide) => {
            let mut rows = vec![wide(head(), ["NODE", "ENDPOINT"].map(String::from))];
            for pod in &pods {
                let row = Row::of(context, pod).await;
                let more = [row.node.clone(), row.endpoint.clone()];
                rows.push(wide(cells(&row), more));
            }
            table::print(&rows)?;
        }
        Some(PsOutput::Json) => table::write(&crate::json::pretty(&list(&pods))?)?,
        Some(PsOutput::Yaml) => table::write(&yaml::of(&list(&pods))?)?,
        Some(PsOutput::Name) => {
            let names: String = pods.iter().map(|pod| format!("pod/{}\n", pod.name)).collect();
            table::write(&names)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn pods(context: &Context, asked: &Ps, told: &mut Told) -> Result<Vec<Entry>> {
    let mut pods = context.pods_again(told).await?;
    let is_in = |pod: &Entry| asked.namespace.as_ref().is_none_or(|place| *place == pod.namespace);
    pods.retain(|pod| is_in(pod) && (asked.all || !pod.phase().is_terminal()));
    Ok(pods)
}

fn list(pods: &[Entry]) -> Value {
    object::list(pods.iter().map(object::whole).collect())
}

fn head() -> [String; 8] {
    ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "IP", "UID", "AGE"].map(String::from)
}

fn cells(row: &Row) -> [String; 8] {
    let (namespace, name) = (row.namespace.clone(), row.name.clone());
    let (ready, status) = (row.ready.clone(), row.status.clone());
    let (restarts, age) = (row.restarts.to_string(), row.age());
    [namespace, name, ready, status, restarts, row.ip.clone(), row.uid.clone(), age]
}

fn wide([a, b, c, d, e, f, g, h]: [String; 8], [i, j]: [String; 2]) -> [String; 10] {
    [a, b, c, d, e, f, g, h, i, j]
}
