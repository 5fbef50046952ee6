//! `rrun apply`: pods are as their manifest says. What is not there is run in the background; what is
//! there becomes what it may become while it runs.

use crate::context::Context;
use crate::many::{self, Asked, full_name};
use crate::{args, detach, jobs, pod_cgroups, table, terminal};
use anyhow::{Context as _, Result, bail};
use rrun_pod::error::Kind;
use rrun_pod::model::Pod;
use rrun_pod::node::facts_of;
use rrun_pod::supervise::control::{self, Request};
use rrun_pod::supervise::{Definition, Entry};
use rrun_pod::update;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Brings the pods of a manifest to what it says. One that it fails for keeps the others from nothing.
pub async fn apply(context: &Context, args: args::Apply) -> Result<ExitCode> {
    let asked = many::read(context, &args.run())?;
    many::print_notes(&asked.pods);
    let mut jobs = BTreeSet::new();
    let mut code = ExitCode::SUCCESS;
    for pod in &asked.pods {
        if pod.job.as_ref().is_some_and(|job| !jobs.insert(jobs::full_name(job))) {
            continue;
        }
        match one(context, &asked, pod).await {
            Ok(Some(done)) => table::write(&format!("{} {done}\n", shown(pod)))?,
            // It has said why.
            Ok(None) => code = ExitCode::from(2),
            Err(error) => {
                terminal::tell(format_args!("{error:#}"));
                code = ExitCode::from(2);
            }
        }
    }
    Ok(code)
}

/// As kubectl names it.
fn shown(pod: &Pod) -> String {
    match &pod.job {
        Some(job) => format!("job.batch/{}", job.name),
        None => format!("pod/{}", pod.meta.name),
    }
}

/// What was done, in kubectl's words; none if it was not.
async fn one(context: &Context, asked: &Asked, pod: &Pod) -> Result<Option<&'static str>> {
    let entry = match on_record(context, pod).await {
        Ok(entry) => entry,
        Err(e) if e.kind() == Kind::NotFound => {
            return Ok(begin(asked, pod).await?.then_some("created"));
        }
        Err(e) => return Err(e.into()),
    };
    let mut definition = asked.definition_of(pod);
    if definition.endpoint.is_none() {
        definition.endpoint.clone_from(&entry.definition.endpoint);
    }
    if entry.definition.endpoint != definition.endpoint {
        bail!("pod {}: it is not at that endpoint", entry.full_name());
    }
    if pod.job.is_some() {
        return job(&entry, &definition, pod);
    }
    let changed = is_changed(context, &entry, &definition)?;
    if entry.phase().is_terminal() {
        if changed {
            let phase = entry.phase().as_str();
            bail!("pod {}: it has ended ({phase}): rrun rm it first", entry.full_name());
        }
        return Ok(Some("unchanged"));
    }
    let done = if changed { "configured" } else { "unchanged" };
    if !context.store.is_locked(&entry).await {
        // Nobody runs it: from now on somebody does.
        let Some(pod_on_record) = context.store.lock_existing(&entry).await? else {
            return put(context, &entry, definition).await.map(|()| Some(done));
        };
        pod_on_record.redefinition().write(definition).await?;
        drop(pod_on_record);
        return Ok(begin(asked, pod).await?.then_some(done));
    }
    if entry.definition != definition {
        put(context, &entry, definition).await?;
    }
    Ok(Some(done))
}

/// The pod as it is on record, whatever others are called like it.
async fn on_record(context: &Context, pod: &Pod) -> rrun_pod::error::Result<Entry> {
    context.store.find(&full_name(pod)).await
}

async fn begin(asked: &Asked, pod: &Pod) -> Result<bool> {
    Ok(detach::begin(asked, pod).await?.is_ok())
}

/// Whether the pod is to be another, which it may be.
fn is_changed(context: &Context, entry: &Entry, definition: &Definition) -> Result<bool> {
    let (old, new) = (entry.pod()?, definition.pod_with(&entry.uid)?);
    let facts = facts_of(&context.roots(None), pod_cgroups::mode(context)?)?;
    Ok(update::apply(&old, &new, &facts)? != old)
}

/// Asks the process that runs the pod.
async fn put(context: &Context, entry: &Entry, definition: Definition) -> Result<()> {
    let request = Request::Apply(Box::new(definition));
    let tell = |words: &str| terminal::tell(words);
    let asked = control::ask(&context.store, &entry.uid, request, tell).await;
    asked.with_context(|| format!("apply {}", entry.full_name()))
}

/// A Job's pods are all made of the same template.
fn job(entry: &Entry, definition: &Definition, pod: &Pod) -> Result<Option<&'static str>> {
    let (mut old, mut new) = (entry.pod()?, definition.pod_with(&entry.uid)?);
    for pod in [&mut old, &mut new] {
        pod.notes.clear();
    }
    if old != new {
        let name = pod.job.as_ref().map(|job| job.name.clone()).unwrap_or_default();
        bail!("The Job {name:?} is invalid: spec.template: Invalid value: field is immutable");
    }
    Ok(Some("unchanged"))
}
