//! `rrun trace`: how the start of a pod went, from its records.

use crate::args::Output;
use crate::context::Context;
use crate::table;
use anyhow::{Context as _, Result};
use rrun_pod::trace;
use std::path::Path;
use std::process::ExitCode;

/// Prints the calls of the start.
pub async fn trace(
    context: &Context,
    pod: &str,
    output: Option<Output>,
    html: Option<&Path>,
) -> Result<ExitCode> {
    let entry = context.store.find(pod).await?;
    let name = entry.full_name();
    let state = entry.state.with_context(|| format!("pod {name}: nothing is known of it yet"))?;
    if let Some(file) = html {
        let shown = file.display();
        std::fs::write(file, trace::page(&name, &state))
            .with_context(|| format!("write {shown}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match output {
        Some(Output::Json) => crate::json::pretty(&trace::chrome(&name, &state))?,
        None => rrun_error::printable(&trace::text(&name, &state)).to_string(),
    };
    table::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
