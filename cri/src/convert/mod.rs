//! Between the wire and the engine's model: pure, both ways.

mod container;
mod error;
mod pod;
mod resources;
mod security;
mod signal;
mod stats;

pub use container::{container_config, container_filter, container_item, container_status};
pub use error::status;
pub use pod::{pod_config, pod_filter, pod_item, pod_status};
pub use resources::resources;
pub use stats::{container_stats, pod_stats};

use rrun_engine::model::Tags;

/// The free-form `info` of a verbose answer: one key, a JSON text.
fn info(value: Option<&serde_json::Value>) -> Tags {
    value.map(|value| ("info".to_owned(), value.to_string())).into_iter().collect()
}
