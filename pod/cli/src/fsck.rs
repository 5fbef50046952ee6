//! `rrun fsck`: what is wrong with what the node keeps, and what was done about it.

use crate::args::Output;
use crate::context::Context;
use crate::images::known;
use crate::{table, terminal};
use anyhow::{Result, bail};
use futures::FutureExt;
use rrun_cri::current::Current;
use rrun_cri::fsck::{Check, Finding, Part, Report, fsck as look_through};
use rrun_error::printable_line;
use rrun_images::Outcome;
use rrun_pod::supervise::Store;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Everything that is looked through.
const PARTS: [Part; 3] = [Part::Images, Part::Network, Part::Pods];

/// Looks through it all and prints what is wrong.
pub async fn fsck(
    context: &Context,
    repair: bool,
    hash: bool,
    output: Option<Output>,
) -> Result<ExitCode> {
    if let Some(endpoint) = &context.endpoint {
        bail!("{endpoint}: a CRI server does not tell that of what it keeps; its own tool does");
    }
    let config = context.config.as_ref();
    let store = context.store.clone();
    let uids = Box::new(move || uids(store.clone()).boxed());
    let check = Check { hash, uids, repair: repair.then(known) };
    let report = look_through(&Current::new(config.clone()), check).await;
    match output {
        Some(Output::Json) => {
            table::write(&crate::json::pretty(&as_json(&config.root, &report))?)?;
        }
        None => print(&config.root, &report)?,
    }
    for (part, why) in &report.failed {
        terminal::tell(format_args!("{} not looked through: {why}", part.as_str()));
    }
    Ok(code(&report))
}

/// Of all pods on record. Whose record is broken, nobody can tell.
async fn uids(store: Store) -> Result<BTreeSet<String>, String> {
    let (pods, broken) = store.all().await.map_err(|error| error.to_string())?;
    match broken.into_iter().next() {
        Some(error) => Err(error.to_string()),
        None => Ok(pods.iter().map(|pod| pod.uid.to_string()).collect()),
    }
}

/// One word for it, and what is to be said of it.
fn outcome(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Found => ("found", ""),
        Outcome::Repaired(how) => ("repaired", how),
        Outcome::Left(why) => ("not repaired", why),
    }
}

fn code(report: &Report) -> ExitCode {
    let has = |is: fn(&Outcome) -> bool| report.findings.iter().any(|(_, outcome)| is(outcome));
    ExitCode::from(if !report.failed.is_empty() {
        2
    } else if has(|outcome| matches!(outcome, Outcome::Left(_))) {
        4
    } else if has(|outcome| matches!(outcome, Outcome::Found)) {
        3
    } else {
        u8::from(!report.findings.is_empty())
    })
}

fn as_json(root: &Path, report: &Report) -> Value {
    let finding = |(finding, outcome_of): &(Finding, Outcome)| {
        let (state, detail) = outcome(outcome_of);
        json!({
            "part": finding.part.as_str(),
            "kind": finding.kind,
            "object": finding.object,
            "problem": finding.what,
            "state": state,
            "detail": detail,
        })
    };
    let failed = |(part, why): &(Part, String)| json!({ "part": part.as_str(), "error": why });
    json!({
        "root": root,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "notes": report.notes,
        "failed": report.failed.iter().map(failed).collect::<Vec<_>>(),
        "layersHashed": report.hashed,
        "attachments": report.attachments,
        "pods": report.pods,
        "containers": report.containers,
    })
}

fn print(root: &Path, report: &Report) -> Result<()> {
    let mut rows = vec![["KIND", "OBJECT", "PROBLEM", "STATE"].map(String::from)];
    for (finding, of) in &report.findings {
        let (state, detail) = outcome(of);
        let state = if detail.is_empty() { state.to_owned() } else { format!("{state}: {detail}") };
        let (object, problem) = (finding.object.clone(), finding.what.clone());
        rows.push([finding.kind.to_owned(), object, problem, state]);
    }
    if rows.len() > 1 {
        table::print(&rows)?;
    }
    for note in &report.notes {
        table::write(&format!("note: {}\n", printable_line(note)))?;
    }
    let parts = PARTS.map(|part| looked(part, report)).join(", ");
    Ok(table::write(&format!("{}: {parts}: {}\n", root.display(), conclusion(report)))?)
}

/// A part, and how much of it was looked at.
fn looked(part: Part, report: &Report) -> String {
    let name = part.as_str();
    if report.failed.iter().any(|(failed, _)| *failed == part) {
        return format!("{name} (not looked through)");
    }
    let counted = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    match part {
        Part::Images => format!("{name} ({} hashed)", counted(report.hashed, "layer")),
        Part::Network => format!("{name} ({})", counted(report.attachments, "attachment")),
        Part::Pods => {
            let containers = counted(report.containers, "container");
            format!("{name} ({}, {containers})", counted(report.pods, "pod"))
        }
    }
}

fn conclusion(report: &Report) -> String {
    let count =
        |state: &str| report.findings.iter().filter(|(_, of)| outcome(of).0 == state).count();
    match (report.findings.len(), count("found")) {
        (0, _) if report.failed.is_empty() => "nothing is wrong".to_owned(),
        (0, _) => "nothing is wrong with the rest".to_owned(),
        (all, found) if all == found => format!("{all} found (--repair puts right what can be)"),
        _ => format!("{} repaired, {} not repaired", count("repaired"), count("not repaired")),
    }
}
