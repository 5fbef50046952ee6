//! `rrun get`: pods as `kubectl get pods` prints them.

use crate::args::{Get, GetOutput};
use crate::context::Context;
use crate::row::Row;
use crate::selector;
use crate::terminal::Told;
use crate::watch::{Line, watch};
use crate::{object, table, yaml};
use anyhow::{Result, anyhow, bail};
use rrun_pod::error::Kind;
use rrun_pod::supervise::Entry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// How often records are looked at for `--watch` of whole pods.
const LOOK: Duration = Duration::from_millis(250);

/// Words that kubectl needs, and there is nothing else here.
const KINDS: [&str; 3] = ["pod", "pods", "po"];

/// Prints pods. One that is not there keeps the others from nothing.
pub async fn get(context: &Context, asked: &Get) -> Result<ExitCode> {
    let names = names(&asked.pods);
    if !names.is_empty() && (asked.selector.is_some() || asked.field_selector.is_some()) {
        bail!("pods are asked for by their names or by a selector, not by both");
    }
    let mut told = Told::default();
    let found = Found::look(context, asked, &names, &mut told).await?;
    let mut code = ExitCode::SUCCESS;
    for error in &found.missing {
        crate::terminal::tell(error);
        code = ExitCode::from(2);
    }
    match &asked.output {
        None => table_of(context, asked, (&names, found.pods), |row| kubectl(asked, row)).await?,
        Some(GetOutput::Wide) => {
            let wide = |row: &Row| {
                let [a, b, c, d, e, f] = kubectl(asked, row);
                [a, b, c, d, e, f, row.ip.clone(), row.node.clone()]
            };
            table_of(context, asked, (&names, found.pods), wide).await?;
        }
        Some(output) if asked.watch => each(context, asked, (&names, found.pods), output).await?,
        Some(output) => {
            let mut items: Vec<Value> = found.pods.iter().map(object::whole).collect();
            // As kubectl: one that is asked for by its name is printed by itself.
            let one = if names.len() == 1 { items.pop() } else { None };
            let all = || one.unwrap_or_else(|| object::list(items));
            let text = match output {
                GetOutput::Name => {
                    found.pods.iter().map(|pod| format!("pod/{}\n", pod.name)).collect()
                }
                _ if names.len() == 1 && found.pods.is_empty() => String::new(),
                output => written(output, &all())?,
            };
            table::write(&text)?;
        }
    }
    Ok(code)
}

/// The pods that are meant: without kubectl's kind.
fn names(words: &[String]) -> Vec<String> {
    let words = match words {
        [first, rest @ ..] if KINDS.contains(&first.as_str()) => rest,
        words => words,
    };
    let bare = |word: &String| {
        let of_kind = word.split_once('/').filter(|(kind, _)| KINDS.contains(kind));
        of_kind.map_or_else(|| word.clone(), |(_, name)| name.to_owned())
    };
    words.iter().map(bare).collect()
}

struct Found {
    pods: Vec<Entry>,
    missing: Vec<rrun_pod::error::Error>,
}

impl Found {
    async fn look(
        context: &Context,
        asked: &Get,
        names: &[String],
        told: &mut Told,
    ) -> Result<Found> {
        let (mut pods, mut missing) = (Vec::new(), Vec::new());
        if names.is_empty() {
            pods = context.pods_again(told).await?;
            pods.retain(|pod| asked.namespace.as_ref().is_none_or(|n| *n == pod.namespace));
            let (labels, fields) = (asked.selector.as_ref(), asked.field_selector.as_ref());
            selector::retain(&mut pods, labels, fields)?;
        }
        for name in names {
            let name = match &asked.namespace {
                Some(namespace) if !name.contains('/') => format!("{namespace}/{name}"),
                _ => name.clone(),
            };
            match context.store.find(&name).await {
                Ok(pod) => pods.push(pod),
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Invalid) => missing.push(e),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Found { pods, missing })
    }
}

/// kubectl's columns. The namespace is left out where it was asked for.
fn kubectl(asked: &Get, row: &Row) -> [String; 6] {
    let namespace = if asked.namespace.is_some() { String::new() } else { row.namespace.clone() };
    let (ready, status) = (row.ready.clone(), row.status.clone());
    [namespace, row.name.clone(), ready, status, row.restarts_ago(), row.age()]
}

async fn table_of<const N: usize>(
    context: &Context,
    asked: &Get,
    (names, pods): (&[String], Vec<Entry>),
    cells: impl Fn(&Row) -> [String; N],
) -> Result<()> {
    let names_of_columns =
        ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"];
    let mut head: [String; N] = std::array::from_fn(|i| names_of_columns[i].to_owned());
    if asked.namespace.is_some() {
        head[0].clear();
    }
    let head = (!asked.no_headers).then_some(head);
    let (mut first, mut told) = (Some(pods), Told::default());
    let mut look = async || {
        let pods = match first.take() {
            Some(pods) => pods,
            None => Found::look(context, asked, names, &mut told).await?.pods,
        };
        let mut lines = Vec::new();
        for pod in &pods {
            let row = Row::of(context, pod).await;
            let Row { ready, status, restarts, ip, .. } = &row;
            let changes = format!("{ready} {status} {restarts} {ip}");
            let cells = cells(&row);
            lines.push(Line { uid: row.uid, changes, cells });
        }
        Ok(lines)
    };
    if asked.watch {
        return watch(head, look).await;
    }
    let rows: Vec<_> = head.into_iter().chain(look().await?.into_iter().map(|l| l.cells)).collect();
    table::print(&rows)?;
    Ok(())
}

/// Prints each pod, and again when it has become another.
async fn each(
    context: &Context,
    asked: &Get,
    (names, mut pods): (&[String], Vec<Entry>),
    output: &GetOutput,
) -> Result<()> {
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let (mut told, mut faults) = (Told::default(), Told::default());
    loop {
        for pod in &pods {
            let text = match output {
                GetOutput::Name => format!("pod/{}\n", pod.name),
                output => written(output, &object::whole(pod))?,
            };
            let before = shown.insert(pod.uid.to_string(), text.clone());
            if before.as_ref() != Some(&text) && !table::shown(&text)? {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
        let fresh = Found::look(context, asked, names, &mut told).await;
        faults.tell(fresh.as_ref().err());
        // What could not be looked at is as it was.
        let Ok(fresh) = fresh else { continue };
        pods = fresh.pods;
    }
}

fn written(output: &GetOutput, object: &Value) -> Result<String> {
    Ok(match output {
        GetOutput::Yaml => yaml::of(object)?,
        GetOutput::JsonPath(template) => {
            template.print(object).map_err(|why| anyhow!("jsonpath: {why}"))?
        }
        GetOutput::Json | GetOutput::Wide | GetOutput::Name => crate::json::pretty(object)?,
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn kubectls_words_for_pods_are_passed_over() {
        let bare =
            |words: &[&str]| names(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(bare(&["pods"]), Vec::<String>::new());
        assert_eq!(bare(&["pod", "web", "db"]), ["web", "db"]);
        assert_eq!(bare(&["pod/web", "other/db"]), ["web", "other/db"]);
    }
}
