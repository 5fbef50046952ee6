//! What the programs say on standard error.

use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Libraries that tell each of their frames at the levels at which we tell what we do. Put before
/// what is asked for, so that `RRUN_LOG=debug,h2=debug` shows them.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,tower=info";

/// Starts the log; `RRUN_LOG` says what is in it, else `default` does. What else follows events
/// and spans (traces, metrics) is one more layer here, with a filter of its own.
pub fn start(default: &str) {
    tracing_subscriber::registry().with(text(default)).init();
}

/// Lines for a person, on standard error.
fn text<S>(default: &str) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let asked = std::env::var("RRUN_LOG").unwrap_or_default();
    let asked = if asked.is_empty() { default } else { &asked };
    fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(EnvFilter::new(format!("{QUIET},{asked}")))
}
