//! Who follows what the daemon does: its log, figures, traces.

use crate::config::Config;
use crate::log;
use crate::metrics::{self, Durations, Steps};
use crate::traces::{self, Traces};
use rrun_cri_api::server::Follow;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;

/// What follows by the configuration.
pub struct Followers {
    /// How long things take, where there is somebody to tell.
    pub durations: Option<Durations>,
    traces: Option<Traces>,
}

impl Followers {
    /// Starts the log, and what else the configuration asks for. Wants a tokio runtime around it.
    ///
    /// # Errors
    /// What cannot be followed, and why. The log is started all the same.
    pub fn start(config: &Config) -> Result<Followers, String> {
        let durations = config.metrics.address.map(|_| Durations::default());
        let rate = config.tracing.sampling_rate_per_million;
        let traces = config.tracing.endpoint.as_ref().map(|to| Traces::start(to, rate)).transpose();
        let mut layers: log::Layers = Vec::new();
        if let Some(durations) = &durations {
            let steps = Steps(durations.clone()).with_filter(filter_fn(metrics::is_followed));
            layers.push(steps.boxed());
        }
        if let Ok(Some(traces)) = &traces {
            let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer());
            let layer =
                layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
            layers.push(layer.with_filter(filter_fn(traces::is_followed)).boxed());
        }
        log::start_with("info", config.log.format, layers);
        Ok(Followers { durations, traces: traces? })
    }

    /// Who is told of calls, if anybody is.
    pub fn of_calls(&self) -> Option<Arc<dyn Follow>> {
        let (durations, traced) = (self.durations.clone(), self.traces.is_some());
        (durations.is_some() || traced).then(|| Arc::new(Calls { durations, traced }) as _)
    }

    /// Tells what has not been told yet.
    pub fn end(&self) {
        self.traces.iter().for_each(Traces::end);
    }
}

/// Follows calls with figures, traces, or both.
struct Calls {
    durations: Option<Durations>,
    traced: bool,
}

impl Follow for Calls {
    fn span(&self, rpc: &'static str, metadata: &MetadataMap) -> Span {
        if self.traced { traces::span(rpc, metadata) } else { Span::none() }
    }

    fn ended(&self, rpc: &'static str, code: Code, took: Duration, span: &Span) {
        if let Some(durations) = &self.durations {
            durations.of_call(rpc, code, took);
        }
        if self.traced {
            traces::ended(span, code);
        }
    }
}
