//! What the parts are asked for at each scrape.

use crate::service::Service;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// The figures of what a service joins.
pub(super) struct Figures(pub(super) Service);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let engine = self.0.engine_counts();
        let images = self.0.image_counts();
        let mut out = Out(encoder);
        out.info("build", "This rrund", &[("version", env!("CARGO_PKG_VERSION"))])?;
        out.gauges("pods", "Pods, by where they stand", "state", &engine.pods)?;
        out.gauges("containers", "Containers, by where they stand", "state", &engine.containers)?;
        let met = "What the start met: pods served again, left to others, in quarantine, not undone, \
                   taken back, and leases and attachments of no pod that were released";
        out.gauges("recovered", met, "what", &engine.recovered)?;
        out.gauge("shims", "Shims that answer", engine.shims)?;
        let lost = "Shims that ended though nobody had stopped their pod";
        out.counter("shims_lost", lost, engine.shims_lost)?;
        let lost = "Container events that subscribers were too slow for";
        out.counter("events_lost", lost, engine.events_lost)?;
        out.gauge("pulls_running", "Pulls that run now", self.0.pulls())?;
        out.counter("pulls", "Pulls that have ended", images.pulls)?;
        out.counter("pulls_failed", "Pulls that failed", images.failed_pulls)?;
        let pulled = "Compressed bytes of layers that pulls have fetched";
        out.counter("pulled_bytes", pulled, images.pulled_bytes)?;
        out.counter("image_collections", "Collections of images", images.collections)?;
        out.counter("images_collected", "Images that these removed", images.collected)?;
        let freed = "Bytes that this freed";
        out.counter("images_collected_bytes", freed, images.collected_bytes)?;
        let failed = "Images that a collection could not remove";
        out.counter("images_not_collected", failed, images.not_collected)?;
        out.gauge("streams", "Clients of exec, attach and port-forward", self.0.streams())?;
        let unanswered = "Calls that NRI plugins have not answered in time";
        out.counter("nri_unanswered", unanswered, rrun_nri::unanswered())
    }
}

/// Writes series.
pub(super) struct Out<'a>(pub(super) DescriptorEncoder<'a>);

impl Out<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    /// `_total` is put behind the name.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// The same in seconds.
    pub(super) fn time(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&seconds, None)
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&labels)
    }

    fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v &'static str, &'v usize)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, value) in values {
            metric.encode_family(&[(label, *state)])?.encode_gauge(value)?;
        }
        Ok(())
    }
}
