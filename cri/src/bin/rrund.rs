//! `rrund`: serves the CRI.

use clap::Parser;
use rrun_cri::config::Config;
use rrun_cri::{daemon, log};
use std::path::PathBuf;
use std::process::ExitCode;

/// A node-level container runtime: serves the Kubernetes CRI on a unix socket.
#[derive(Parser)]
#[command(name = "rrund", version)]
struct Args {
    /// Configuration file (TOML); /etc/rrun/rrund.toml if it is there.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// For threads of which few run at a time.
const HEAPS: i32 = 2;

fn main() -> ExitCode {
    rrun_sys::heap::keep_to(HEAPS);
    let args = Args::parse();
    log::start("info");
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(2);
        }
    };
    match daemon::run(config, args.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let root = nix::unistd::geteuid().is_root();
            let hint = if root { "" } else { " (rrund works as root only)" };
            tracing::error!("{error}{hint}");
            ExitCode::FAILURE
        }
    }
}
