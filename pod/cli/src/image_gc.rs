//! `rrun gc images`, `image prune` and `why-removed` of an image.

use crate::args::Output;
use crate::context::Context;
use crate::image::local;
use crate::images::{short, size, time};
use crate::table;
use anyhow::{Result, bail};
use rrun_images::gc::{Amount, Verdict};
use rrun_images::{Collection, Decision, Entry, Store};
use rrun_pod::node::forget_pull;
use rrun_pod::supervise::image_gc::named;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Collects images, or tells what a collection would do.
pub async fn images(context: &Context, dry_run: bool) -> Result<ExitCode> {
    let policy = context.image_gc_policy()?;
    let store = local(context).await?;
    let spared = named(&context.store).await?;
    let done = match dry_run {
        true => store.plan_collection(policy, spared).await?,
        false => match store.collect_images(policy, spared).await? {
            Some(done) => done,
            None => bail!("another process collects images now"),
        },
    };
    table::print(&rows(&done.decisions))?;
    let (high, low) = policy.thresholds();
    let room = done.room;
    let words = match (done.wanted == Amount::default(), dry_run) {
        (true, _) => "nothing is wanted".to_owned(),
        (false, true) => format!("{} would be freed", freed(&done)),
        (false, false) => format!("{} freed", freed(&done)),
    };
    table::write(&format!(
        "{room} are used; collected from {high} % on, down to {low} %: {words}\n"
    ))?;
    if !dry_run {
        finish(context, &store, &done).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes images that nobody uses.
pub async fn prune(context: &Context, all: bool) -> Result<ExitCode> {
    let store = local(context).await?;
    let done = store.prune(all, named(&context.store).await?).await?;
    let gone = |one: &&Decision| matches!(one.verdict, Verdict::Remove { .. });
    let removed: Vec<Decision> = done.decisions.iter().filter(gone).cloned().collect();
    table::print(&rows(&removed))?;
    table::write(&format!("{} freed\n", freed(&done)))?;
    finish(context, &store, &done).await?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until what was removed is deleted: nobody else may be there who would free the space.
async fn finish(context: &Context, store: &Store, done: &Collection) -> Result<()> {
    for one in done.decisions.iter().filter(|one| matches!(one.verdict, Verdict::Remove { .. })) {
        forget_pull(&context.pulls(None), &one.id.to_string())?;
    }
    store.empty_trash().await?;
    match done.trouble() {
        Some(trouble) => bail!(trouble),
        None => Ok(()),
    }
}

fn freed(done: &Collection) -> String {
    format!("{} and {} inodes", size(done.frees.bytes), done.frees.inodes)
}

fn rows(decisions: &[Decision]) -> Vec<[String; 6]> {
    let head = ["IMAGE", "ID", "LAST USED", "FREES", "DECISION", "WHY"].map(String::from);
    let row = |one: &Decision| {
        let (word, frees) = match &one.verdict {
            Verdict::Keep(_) => ("keep", "-".to_owned()),
            Verdict::Remove { frees, .. } => ("remove", size(frees.bytes)),
        };
        [
            name(&one.names),
            short(&one.id.to_string()),
            time(one.last_used),
            frees,
            word.to_owned(),
            one.verdict.to_string(),
        ]
    };
    std::iter::once(head).chain(decisions.iter().map(row)).collect()
}

/// Prints what was decided about one image or all, the newest first.
pub async fn why_removed(
    context: &Context,
    image: Option<&str>,
    output: Option<Output>,
) -> Result<ExitCode> {
    let store = local(context).await?;
    let entries = store.journal(image).await?;
    if let (Some(image), true) = (image, entries.is_empty()) {
        match store.find(image).await? {
            Some(_) => bail!("image {image}: is here, and nothing was decided about it"),
            None => bail!("{image}: no removed container or image of that name or id is on record"),
        }
    }
    if let Some(Output::Json) = output {
        let all: Vec<Value> = entries.iter().map(as_json).collect();
        table::write(&crate::json::pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["TIME", "IMAGE", "ID", "DECISION", "BY", "FREED", "WHY"].map(String::from);
    let row = |entry: &Entry| {
        let (word, bytes) = match entry.is_removed {
            true => ("removed", size(entry.bytes)),
            false => ("kept", "-".to_owned()),
        };
        [
            time(entry.at),
            name(&entry.names),
            short(&entry.image.to_string()),
            word.to_owned(),
            entry.origin.as_str().to_owned(),
            bytes,
            entry.why.clone(),
        ]
    };
    table::print(&std::iter::once(head).chain(entries.iter().map(row)).collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "at": time(entry.at),
        "image": entry.image.to_string(),
        "names": entry.names,
        "decision": if entry.is_removed { "removed" } else { "kept" },
        "by": entry.origin.as_str(),
        "freed": entry.bytes,
        "why": entry.why,
    })
}

fn name(names: &[String]) -> String {
    let tag = names.iter().find(|name| !name.contains('@'));
    tag.or(names.first()).cloned().unwrap_or_else(|| "<none>".to_owned())
}
