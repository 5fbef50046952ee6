//! `rrun delete`: pods end and are removed.

use crate::args;
use crate::context::Context;
use crate::many::full_name;
use crate::{stop, table};
use anyhow::{Result, bail};
use rrun_pod::error::Kind;
use rrun_pod::supervise::Definition;

/// The names of the pods that are asked for. Of a manifest's, those that a Job has made anew too.
pub async fn pods(context: &Context, args: &args::Delete) -> Result<Vec<String>> {
    let Some(manifest) = &args.file else { return Ok(args.pods.clone()) };
    let definition = Definition::read(manifest, &[], None)?;
    let mut names: Vec<String> = definition.pods()?.iter().map(full_name).collect();
    let on_record =
        context.pods().await?.into_iter().filter(|pod| pod.definition.is_of(&definition));
    for name in on_record.map(|pod| pod.full_name()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Deletes a pod. One that its own process removes at its end is gone then.
pub async fn delete(context: &Context, args: &args::Delete, pod: &str) -> Result<()> {
    match context.store.find(pod).await {
        Err(e) if e.kind() == Kind::NotFound && args.ignore_not_found => return Ok(()),
        found => {
            let entry = found?;
            if let Some(file) = entry.definition.file.filter(|file| file.exists()) {
                let file = file.display();
                bail!(
                    "pod {pod}: it is of the file {file}: it ends when that goes, and would come back"
                );
            }
        }
    }
    // Its process may end just as it is asked: then nobody is in the way the second time.
    match stop::stop(context, pod, args.grace_period).await {
        Err(e) if stop::is(&e, Kind::Timeout) => return Err(e),
        Err(_) => drop(stop::stop(context, pod, args.grace_period).await?),
        Ok(_) => {}
    }
    match stop::remove(context, pod, true).await {
        Err(e) if !stop::is(&e, Kind::NotFound) => return Err(e),
        _ => {}
    }
    let name = pod.rsplit('/').next().unwrap_or(pod);
    table::write(&format!("pod {name:?} deleted\n"))?;
    Ok(())
}
