//! `rrun doctor`: what this host has and lacks.

use crate::args::Output;
use crate::context::Context;
use crate::table;
use anyhow::{Result, bail};
use rrun_cri::doctor::{examine, is_wanting, json, text};
use std::process::ExitCode;

/// Prints each line of it.
pub fn doctor(context: &Context, output: Option<Output>) -> Result<ExitCode> {
    if let Some(endpoint) = &context.endpoint {
        bail!("{endpoint}: a CRI server does not tell that of its host");
    }
    let rows = examine(&context.config);
    table::write(&match output {
        Some(Output::Json) => json(&rows),
        None => text(&rows),
    })?;
    Ok(if is_wanting(&rows) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
