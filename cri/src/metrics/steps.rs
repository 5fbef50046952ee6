//! How long verbs and their steps take, by their spans.

use super::Durations;
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

const VERB: &str = "verb";
const STEP: &str = "step";

/// Who has no verb around it was begun by nobody's call: a deletion behind, for example.
const NOBODY: &str = "behind";

/// Follows verbs and steps.
pub struct Steps(pub Durations);

/// Whether a span is a verb or a step of ours.
pub fn is_followed(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target().starts_with("rrun_");
    metadata.is_span() && is_ours && matches!(metadata.name(), VERB | STEP)
}

/// What a span is of, and since when.
struct Followed {
    name: String,
    since: Instant,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Steps {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut name = Name(String::new());
        attributes.record(&mut name);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Followed { name: name.0, since: Instant::now() });
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let extensions = span.extensions();
        let Some(Followed { name, since }) = extensions.get() else { return };
        let took = since.elapsed();
        if span.name() == VERB {
            return self.0.of_verb(name, took);
        }
        let verb = span.scope().skip(1).find(|above| above.name() == VERB);
        let verb = verb.and_then(|verb| Some(verb.extensions().get::<Followed>()?.name.clone()));
        self.0.of_step(verb.as_deref().unwrap_or(NOBODY), name, took);
    }
}

/// Reads the field `name`.
struct Name(String);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
