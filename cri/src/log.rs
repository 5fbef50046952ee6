//! What the programs say on standard error.

use std::io::{self, IsTerminal};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, FormatFields, Writer};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

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
    lines(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_filter(EnvFilter::new(format!("{QUIET},{asked}")))
}

type Lines<S, W> = fmt::Layer<S, OneLine, fmt::format::Format, W>;

fn lines<S, W>(writer: W) -> Lines<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fmt::layer().fmt_fields(OneLine(DefaultFields::new())).with_writer(writer)
}

/// Messages and fields on one line. Much of them is text of clients, images and containers: a
/// control character in it would forge a line of the log, or speak to the reader's terminal.
struct OneLine(DefaultFields);

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'w>,
        fields: R,
    ) -> std::fmt::Result {
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        text.chars().try_for_each(|c| match c.is_control() || LINE_ENDS.contains(&c) {
            true => write!(writer, "{}", c.escape_default()),
            false => writer.write_char(c),
        })
    }
}

/// They end lines for some readers, and are no control characters.
const LINE_ENDS: [char; 2] = ['\u{2028}', '\u{2029}'];

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_message_field_or_span_writes_a_control_character_or_a_second_line() {
        const FORGED: &str = "/a\n2026-01-01T00:00:00Z  WARN forged\r\t\u{1b}[2J\u{9b}x\u{2028}y";
        let written = Written::default();
        let made = written.clone();
        let subscriber =
            tracing_subscriber::registry().with(lines(move || made.clone()).with_ansi(false));
        tracing::subscriber::with_default(subscriber, || {
            let span =
                tracing::info_span!("CreateContainer", pod = FORGED, image = tracing::field::Empty);
            span.record("image", FORGED);
            let error = io::Error::other(FORGED);
            span.in_scope(|| tracing::warn!(name = FORGED, %error, debug = ?FORGED, "{FORGED}"));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || LINE_ENDS.contains(&c)), "{line:?}");
        assert_eq!(line.matches("/a\\n2026-01-01T00:00:00Z  WARN forged").count(), 6, "{line}");
    }
}
