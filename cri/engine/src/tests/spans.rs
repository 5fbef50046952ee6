//! What a tracer sees of a verb.

use super::{Machine, running};
use crate::Owner;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// One span: its fields, and the span that it is in.
#[derive(Clone, Default)]
struct Seen {
    fields: BTreeMap<&'static str, String>,
    parent: Option<usize>,
}

/// Remembers every span.
#[derive(Clone, Default)]
struct Tracer(Arc<Mutex<(Vec<Seen>, Vec<usize>)>>);

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

fn at(id: &Id) -> usize {
    id.into_u64() as usize - 1
}

impl Subscriber for Tracer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let (all, entered) = &mut *self.0.lock().unwrap();
        let mut seen = Seen { parent: entered.last().copied(), ..Seen::default() };
        attributes.record(&mut seen);
        all.push(seen);
        Id::from_u64(all.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut self.0.lock().unwrap().0[at(span)]);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().1.push(at(span));
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().1.pop();
    }
}

#[test]
fn each_step_is_a_span_in_that_of_its_verb_which_names_pod_and_container() {
    let machine = Machine::new();
    let tracer = Tracer::default();
    // With a single dispatcher another test's thread, which has none, would turn spans off for all.
    let _other = tracing::Dispatch::new(Tracer::default());
    let (pod, id) = tracing::subscriber::with_default(tracer.clone(), || {
        machine.life(async |engine, _| {
            let (pod, id) = running(&engine, "web").await;
            engine.remove_pod(&Owner::Cri, pod.as_str()).await.unwrap();
            (pod, id)
        })
    });
    let all = tracer.0.lock().unwrap().0.clone();
    let verb_of = |step: &str| {
        let found = all.iter().find(|seen| seen.fields.get("name").is_some_and(|n| n == step));
        let parent = found.unwrap_or_else(|| panic!("{step} is no span")).parent;
        all[parent.unwrap_or_else(|| panic!("{step} is in no span"))].fields.clone()
    };
    for (step, verb, container) in [
        ("engine.run-pod.shim", "RunPodSandbox", false),
        ("engine.create-container.sources", "CreateContainer", true),
        ("engine.create-container.init", "CreateContainer", true),
        ("engine.start-container.start", "StartContainer", true),
        ("engine.stop-pod.network", "RemovePodSandbox", false),
        ("engine.remove-pod.run-dir", "RemovePodSandbox", false),
    ] {
        let fields = verb_of(step);
        assert_eq!(fields["name"], verb, "{step}");
        assert_eq!(fields["pod"], pod.as_str(), "{step}");
        let named = fields.get("container").map(String::as_str);
        assert_eq!(named, container.then_some(id.as_str()), "{step}");
    }
}
