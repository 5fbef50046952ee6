//! `rrund config`: what people ask of the configuration without starting a daemon.

use clap::Subcommand;
use rrun_cri::config::{DEFAULTS, text};
use rrun_cri::parts;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Command {
    /// Print every key with its default
    Default,
    /// Say what is wrong with a configuration, with file, line and key; the exit code is 1 then
    Check {
        /// Instead of the file that the daemon would read
        file: Option<PathBuf>,
    },
    /// Print what a daemon that is started now goes by, its files merged
    Dump,
    /// Print a configuration of containerd or CRI-O as one of ours, with what is not carried over
    Import {
        /// Its config.toml or crio.conf
        file: PathBuf,
    },
}

/// Carries `command` out on `file`, or on the one that the daemon finds without.
pub fn run(command: Command, file: Option<PathBuf>) -> ExitCode {
    let done = match command {
        Command::Default => print(DEFAULTS),
        Command::Check { file: other } => check(other.or(file).as_deref()),
        Command::Dump => dump(file.as_deref()),
        Command::Import { file } => import(&file),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", rrun_error::printable(&error));
            ExitCode::FAILURE
        }
    }
}

fn check(file: Option<&Path>) -> Result<(), String> {
    let (files, _) = parts::load(file)?;
    let mut names: Vec<_> = files.names().collect();
    if names.is_empty() {
        names.push("the defaults");
    }
    print(&format!("{}: fit for use\n", names.join(", ")))
}

fn dump(file: Option<&Path>) -> Result<(), String> {
    let (_, config) = parts::load(file)?;
    let text = toml::to_string(&config).map_err(|error| format!("write TOML: {error}"))?;
    print(&text)
}

fn import(file: &Path) -> Result<(), String> {
    let name = file.display().to_string();
    let text = text(file);
    let text = text.map_err(|error| format!("{name}: {}", rrun_error::reason(&error)))?;
    print(&rrun_cri::import::import(&text, &name)?.text())
}

/// A reader that wants no more is no error.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("write: {error}")),
        _ => Ok(()),
    }
}
