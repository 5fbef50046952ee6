//! What the programs say on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Libraries that tell each of their frames at the levels at which we tell what we do. Put before
/// what is asked for, so that `RRUN_LOG=debug,h2=debug` shows them.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,tower=info";

/// Starts the log; `RRUN_LOG` says what is in it, else `default` does.
pub fn start(default: &str) {
    let asked = std::env::var("RRUN_LOG").unwrap_or_default();
    let asked = if asked.is_empty() { default } else { &asked };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{QUIET},{asked}")))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
