//! What is made of the command line itself: completion scripts and manual pages.

use crate::args::{Args, Shell};
use crate::table;
use anyhow::{Context as _, Result};
use clap::CommandFactory;
use std::path::Path;
use std::process::ExitCode;

/// Prints the script of a shell.
pub fn completion(shell: Shell) -> Result<ExitCode> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "rrun", &mut script);
    table::write(&String::from_utf8(script).context("make the script")?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `rrun.1`, `rrun-run.1` and so on.
pub fn man(folder: &Path) -> Result<ExitCode> {
    // With the global options in each, as --help has them.
    let mut command = Args::command()
        .disable_help_subcommand(true)
        .mut_subcommands(|one| one.disable_help_subcommand(true));
    command.build();
    let written = clap_mangen::generate_to(command, folder);
    written.with_context(|| format!("write the pages to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
