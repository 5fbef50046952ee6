//! `rrun explain`: what would be done with a manifest's pods, and nothing is done.

use crate::context::Context;
use crate::{many, pod_cgroups, table};
use anyhow::{Context as _, Result};
use rrun_pod::explain::explain as words;
use rrun_pod::node::facts_of;
use rrun_pod::supervise::Definition;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints the life of each pod.
pub fn explain(context: &Context, manifest: &Path, objects: &[PathBuf]) -> Result<ExitCode> {
    let endpoint = context.endpoint.clone();
    let pods = Definition::read(manifest, objects, endpoint)?.pods()?;
    many::print_notes(&pods);
    let facts = facts_of(&context.roots(None), pod_cgroups::mode(context)?)?;
    for (i, pod) in pods.iter().enumerate() {
        let text = words(pod, &facts).with_context(|| format!("pod {}", pod.meta.name))?;
        let between = if i > 0 { "\n" } else { "" };
        table::write(&format!("{between}{}", rrun_error::printable(&text)))?;
    }
    Ok(ExitCode::SUCCESS)
}
