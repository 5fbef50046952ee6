//! `rrun fsck`: what is wrong with the store of images, and what was done about it.

use crate::args::Output;
use crate::context::Context;
use crate::images::known;
use crate::table;
use anyhow::{Result, bail};
use rrun_cri::current::Current;
use rrun_cri::parts;
use rrun_error::printable_line;
use rrun_images::{Check, Outcome, Report, fsck as look_through};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;

/// Looks through the store and prints what is wrong.
pub async fn fsck(
    context: &Context,
    repair: bool,
    hash: bool,
    output: Option<Output>,
) -> Result<ExitCode> {
    if let Some(endpoint) = &context.endpoint {
        bail!("{endpoint}: a CRI server does not tell that of its images; its own tool does");
    }
    let config = Arc::clone(&context.config);
    let containers = Arc::new(move || parts::containers(&config));
    let store = parts::image_store(&Current::new(context.config.as_ref().clone()));
    let root = store.root.display().to_string();
    let check = Check { hash, containers, repair: repair.then(known) };
    let report = look_through(store, check).await?;
    match output {
        Some(Output::Json) => {
            let text = serde_json::to_string_pretty(&as_json(&root, &report))?;
            table::write(&format!("{text}\n"))?;
        }
        None => print(&root, &report)?,
    }
    Ok(code(&report))
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
    ExitCode::from(if has(|outcome| matches!(outcome, Outcome::Left(_))) {
        4
    } else if has(|outcome| matches!(outcome, Outcome::Found)) {
        3
    } else {
        u8::from(!report.findings.is_empty())
    })
}

fn as_json(root: &str, report: &Report) -> Value {
    let finding = |(finding, outcome_of): &(rrun_images::Finding, Outcome)| {
        let (state, detail) = outcome(outcome_of);
        json!({
            "kind": finding.fault.as_str(),
            "object": finding.object,
            "problem": finding.what,
            "state": state,
            "detail": detail,
        })
    };
    json!({
        "store": root,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "notes": report.notes,
        "layersHashed": report.hashed,
    })
}

fn print(root: &str, report: &Report) -> Result<()> {
    let mut rows = vec![["KIND", "OBJECT", "PROBLEM", "STATE"].map(String::from)];
    for (finding, of) in &report.findings {
        let (state, detail) = outcome(of);
        let state = if detail.is_empty() { state.to_owned() } else { format!("{state}: {detail}") };
        let (object, problem) = (finding.object.clone(), finding.what.clone());
        rows.push([finding.fault.as_str().to_owned(), object, problem, state]);
    }
    if rows.len() > 1 {
        table::print(&rows)?;
    }
    for note in &report.notes {
        table::write(&format!("note: {}\n", printable_line(note)))?;
    }
    let count =
        |state: &str| report.findings.iter().filter(|(_, of)| outcome(of).0 == state).count();
    let words = match (report.findings.len(), count("found")) {
        (0, _) => "nothing is wrong".to_owned(),
        (all, found) if all == found => format!("{all} found (--repair puts right what can be)"),
        _ => format!("{} repaired, {} not repaired", count("repaired"), count("not repaired")),
    };
    table::write(&format!("{root}: {} layers hashed, {words}\n", report.hashed))?;
    Ok(())
}
