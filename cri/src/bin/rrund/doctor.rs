//! `rrund doctor`: what this host has and lacks.

use clap::ValueEnum;
use rrun_cri::doctor::{examine, is_wanting, json, text};
use rrun_cri::parts;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

#[derive(Clone, Copy, ValueEnum)]
pub enum Output {
    /// An array of objects
    Json,
}

/// Prints each line of it; 1 where something is missing that no pod can be run without.
pub fn run(output: Option<Output>, file: Option<&Path>) -> ExitCode {
    let config = match parts::load(file) {
        Ok((_, config)) => config,
        Err(error) => {
            eprintln!("{}", rrun_error::printable(&error));
            return ExitCode::from(super::MISUSED);
        }
    };
    let rows = examine(&config);
    let shown = match output {
        Some(Output::Json) => json(&rows),
        None => text(&rows),
    };
    // A reader that wants no more has seen what it wants.
    let _ = io::stdout().write_all(shown.as_bytes());
    if is_wanting(&rows) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
