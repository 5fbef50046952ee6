//! Between the wire and the engine's model: pure, both ways.

mod container;
mod error;
mod image;
mod metrics;
mod network;
mod pod;
mod resources;
mod security;
mod signal;
mod stats;

pub use container::{container_config, container_filter, container_item, container_status};
pub use error::status;
pub use image::{credentials, image_to_pull};
pub use metrics::{metric_descriptors, pod_metrics};
pub use network::pod_cidrs;
pub use pod::{pod_config, pod_filter, pod_item, pod_status};
pub use resources::{changed_resources, resources};
pub use stats::{container_stats, filesystem, pod_stats};

use rrun_engine::model::Tags;
use rrun_engine::{Error, Result};

/// What is said for another operating system is refused, as nothing here would do it.
fn refuse_windows<T>(part: Option<&T>) -> Result<()> {
    match part {
        Some(_) => Err(Error::invalid("windows: this is Linux")),
        None => Ok(()),
    }
}

/// The free-form `info` of a verbose answer: one key, a JSON text.
fn info(value: Option<&serde_json::Value>) -> Tags {
    value.map(|value| ("info".to_owned(), value.to_string())).into_iter().collect()
}
