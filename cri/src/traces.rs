//! Traces for OpenTelemetry: each call is a span, with its verb and the steps of that below it.

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData};
use std::time::Duration;
use tonic::Code;
use tonic::metadata::{KeyRef, MetadataMap};
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of the spans of calls. Those of verbs and steps are in the crates that do them.
const CALLS: &str = "rrun_cri::calls";

/// How long a collector is waited for when the daemon ends.
const LAST: Duration = Duration::from_secs(2);

/// Sends what is followed to a collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To the collector at `endpoint`; of calls whose caller has not decided it so many of a million
    /// are traced. Dials with the first of them. Wants a tokio runtime around it.
    ///
    /// # Errors
    /// An endpoint that is no URL.
    pub fn start(endpoint: &str, per_million: u32) -> Result<Traces, String> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|error| format!("traces to {endpoint}: {error}"))?;
        let by_rate = Sampler::TraceIdRatioBased(f64::from(per_million) / 1e6);
        let resource = Resource::builder()
            .with_service_name("rrund")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Named(exporter))
            .with_sampler(Sampler::ParentBased(Box::new(by_rate)))
            .with_resource(resource)
            .build();
        Ok(Traces { provider })
    }

    /// What makes spans of those of this program.
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("rrund")
    }

    /// Sends what is left.
    pub fn end(&self) {
        // A collector that is gone has missed it.
        let _ = self.provider.shutdown_with_timeout(LAST);
    }
}

/// Whether a span belongs into traces.
pub fn is_followed(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target().starts_with("rrun_");
    metadata.is_span() && is_ours && matches!(metadata.name(), "rpc" | "verb" | "step")
}

/// The span of a call, within the trace of its caller if that sends one.
pub fn span(rpc: &'static str, metadata: &MetadataMap) -> Span {
    let status = tracing::field::Empty;
    let span = tracing::debug_span!(
        target: CALLS, parent: None, "rpc", name = rpc, rpc.system = "grpc",
        rpc.grpc.status_code = status, otel.kind = "server", otel.status_code = status
    );
    let caller = TraceContextPropagator::new().extract(&Headers(metadata));
    // Nobody follows it: there is nothing to set.
    let _ = span.set_parent(caller);
    span
}

/// Says how a call has ended.
pub fn ended(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", code as i64);
    // Of the server's side: what a client has done wrong is no error of ours.
    let is_ours = matches!(code, Code::Unknown | Code::Internal | Code::DataLoss);
    let is_late = matches!(code, Code::DeadlineExceeded | Code::Unavailable | Code::Unimplemented);
    if is_ours || is_late {
        span.record("otel.status_code", "ERROR");
    }
}

struct Headers<'a>(&'a MetadataMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let keys = self.0.keys().filter_map(|key| match key {
            KeyRef::Ascii(key) => Some(key.as_str()),
            KeyRef::Binary(_) => None,
        });
        keys.collect()
    }
}

/// Our spans are called `rpc`, `verb` and `step`, and what they are of is their field `name`; in a
/// trace that is their name.
#[derive(Debug)]
struct Named(SpanExporter);

impl opentelemetry_sdk::trace::SpanExporter for Named {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            let name = Key::from_static_str("name");
            if let Some(at) = span.attributes.iter().position(|one| one.key == name) {
                let KeyValue { value, .. } = span.attributes.swap_remove(at);
                span.name = value.to_string().into();
            }
        }
        self.0.export(batch).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
