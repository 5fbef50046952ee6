//! The daemon in figures, for Prometheus. Nothing here has the name of a pod or an image as a label:
//! there are as many series as there are RPCs, verbs and steps.

mod figures;
mod process;
mod server;
mod steps;

pub use server::serve;
pub use steps::{Steps, is_followed};

use crate::service::Service;
use figures::Figures;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;
use tonic::Code;

/// Seconds. A call takes a millisecond, or as long as a pull.
const CALL_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];

/// Seconds. Most steps are a system call or two.
const STEP_BUCKETS: [f64; 8] = [0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.5, 5.0, 60.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    rpc: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    verb: String,
    step: String,
}

/// How long calls, verbs and steps take. Clones are the same.
#[derive(Clone)]
pub struct Durations {
    calls: Histograms<Call>,
    verbs: Histograms<Verb>,
    steps: Histograms<Step>,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations {
            calls: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS)),
            verbs: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS)),
            steps: Family::new_with_constructor(|| Histogram::new(STEP_BUCKETS)),
        }
    }
}

impl Durations {
    /// A call has ended.
    pub fn of_call(&self, rpc: &'static str, code: Code, took: Duration) {
        let call = Call { rpc, code: format!("{code:?}") };
        self.calls.get_or_create(&call).observe(took.as_secs_f64());
    }

    fn of_verb(&self, verb: &str, took: Duration) {
        let verb = Verb { verb: verb.to_owned() };
        self.verbs.get_or_create(&verb).observe(took.as_secs_f64());
    }

    fn of_step(&self, verb: &str, step: &str, took: Duration) {
        let step = Step { verb: verb.to_owned(), step: step.to_owned() };
        self.steps.get_or_create(&step).observe(took.as_secs_f64());
    }
}

/// All series of a daemon.
pub struct Metrics {
    registry: Registry,
    service: Service,
}

impl Metrics {
    /// Those of `durations`, and what `service` is asked for at each scrape.
    pub fn new(durations: &Durations, service: Service) -> Metrics {
        let mut registry = Registry::default();
        // Their names are the same for every program.
        registry.register_collector(Box::new(process::Process));
        let Durations { calls, verbs, steps } = durations.clone();
        let of_rrun = registry.sub_registry_with_prefix("rrun");
        of_rrun.register(
            "rpc_duration_seconds",
            "How long calls of the CRI took, by their gRPC code",
            calls,
        );
        of_rrun.register(
            "verb_duration_seconds",
            "How long was worked on pods, containers and images",
            verbs,
        );
        of_rrun.register(
            "step_duration_seconds",
            "How long each step of that took: one change of the disk or the kernel",
            steps,
        );
        of_rrun.register_collector(Box::new(Figures(service.clone())));
        Metrics { registry, service }
    }

    /// All of them as text.
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
