//! `rrund`: serves the CRI.

mod config;
mod doctor;

use clap::{Parser, Subcommand};
use rrun_cri::{daemon, log, parts};
use std::path::PathBuf;
use std::process::ExitCode;

/// A node-level container runtime: serves the Kubernetes CRI on a unix socket.
#[derive(Parser)]
#[command(name = "rrund", version)]
struct Args {
    /// Configuration file (TOML); /etc/rrun/rrund.toml if it is there. Files *.toml of the folder with
    /// its name and .d are read after it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The configuration: its defaults, what is wrong with it, what is in force
    #[command(subcommand)]
    Config(config::Command),
    /// Say what this host has and lacks, and what follows; the exit code is 1 where no pod can be run
    Doctor {
        /// As JSON
        #[arg(short, long)]
        output: Option<doctor::Output>,
    },
}

/// For threads of which few run at a time.
const HEAPS: i32 = 2;

/// What clap ends with too.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    rrun_sys::heap::keep_to(HEAPS);
    let args = Args::parse();
    match args.command {
        None => serve(args.config),
        Some(Command::Config(command)) => config::run(command, args.config),
        Some(Command::Doctor { output }) => doctor::run(output, args.config.as_deref()),
    }
}

fn serve(file: Option<PathBuf>) -> ExitCode {
    let config = match parts::load(file.as_deref()) {
        Ok((_, config)) => config,
        Err(error) => {
            log::start("info");
            tracing::error!("{error}");
            return ExitCode::from(MISUSED);
        }
    };
    match daemon::run(config, file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let root = nix::unistd::geteuid().is_root();
            let hint = if root { "" } else { " (rrund works as root only)" };
            tracing::error!("{error}{hint}");
            ExitCode::FAILURE
        }
    }
}
