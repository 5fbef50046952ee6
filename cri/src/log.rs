//! What the programs say on standard error.

mod json;

use crate::config::LogFormat;
use json::Json;
use std::io::{self, IsTerminal};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that tell each of their frames at the levels at which we tell what we do. Put before
/// what is asked for, so that `RRUN_LOG=debug,h2=debug` shows them.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info,tower=info";

/// Whoever follows events and spans beside the log, each with a filter of its own.
pub type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Starts the log as lines of text; `RRUN_LOG` says what is in it, else `default` does.
pub fn start(default: &str) {
    start_with(default, LogFormat::Text, Vec::new());
}

/// The same in a format, with others who follow.
pub fn start_with(default: &str, format: LogFormat, mut layers: Layers) {
    let asked = std::env::var("RRUN_LOG").unwrap_or_default();
    let asked = if asked.is_empty() { default } else { &asked };
    let filter = EnvFilter::new(format!("{QUIET},{asked}"));
    layers.push(match format {
        LogFormat::Text => {
            lines(io::stderr).with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed()
        }
        LogFormat::Json => objects(io::stderr).with_filter(filter).boxed(),
    });
    tracing_subscriber::registry().with(layers).init();
}

type Lines<S, W> = fmt::Layer<S, OneLine, fmt::format::Format, W>;

fn lines<S, W>(writer: W) -> Lines<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fmt::layer().fmt_fields(OneLine(DefaultFields::new())).with_writer(writer)
}

fn objects<S, W>(writer: W) -> fmt::Layer<S, JsonFields, Json, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fmt::layer().fmt_fields(JsonFields::new()).event_format(Json).with_writer(writer)
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

    #[test]
    fn as_json_a_line_has_the_ids_of_what_it_is_about_and_no_second_line() {
        let written = Written::default();
        let made = written.clone();
        let subscriber = tracing_subscriber::registry().with(objects(move || made.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let container = tracing::field::Empty;
            let verb = tracing::info_span!("verb", name = "StopContainer", pod = "p", container);
            verb.record("container", "c");
            let step = tracing::debug_span!(parent: &verb, "step", name = "engine.stop");
            step.in_scope(|| tracing::warn!(left = 7, error = "a\nb", "not \"stopped\"\n"));
            tracing::info!("of nothing");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, second] = &lines[..] else { panic!("{text}") };
        for (key, value) in [
            ("level", "WARN"),
            ("message", "not \"stopped\"\n"),
            ("verb", "StopContainer"),
            ("step", "engine.stop"),
            ("pod", "p"),
            ("container", "c"),
            ("error", "a\nb"),
        ] {
            assert_eq!(first[key], value, "{key}: {first}");
        }
        assert_eq!(first["left"], 7);
        assert!(first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
        assert_eq!(second["pod"], serde_json::Value::Null);
    }
}
