//! What a Pod means: the kubelet's half of a node, over the CRI trait and the Node trait.
//!
//! ```text
//! manifest → model ─┐
//!                   ├→ engine ── one worker per pod: look (sync::observe), tell (status),
//! Cri, Node, Clock ─┘            decide (sync::actions), do (sync::start, sync::kill)
//! ```
//!
//! Deciders are pure functions with table tests; the worker is tested against a runtime in memory
//! in virtual time.

pub mod addresses;
pub mod admission;
mod backoff;
pub mod clock;
pub mod credentials;
pub mod dns;
mod engine;
pub mod env;
pub mod env_file;
pub mod ephemeral;
pub mod error;
pub mod events;
mod eviction;
pub mod explain;
#[cfg(test)]
#[allow(missing_docs)]
mod fake;
pub mod gc;
pub mod go_duration;
mod hints;
pub mod hosts;
pub mod ids;
pub mod job;
pub mod manifest;
pub mod model;
pub mod node;
pub mod probe;
pub mod pull_records;
pub mod quantity;
mod record;
pub mod registry;
pub mod resize;
pub mod resources;
pub mod security;
pub mod state;
pub mod status;
pub mod supervise;
mod sync;
mod sysctl;
#[cfg(test)]
mod testing;
pub mod tombstone;
pub mod trace;
pub mod translate;
pub mod update;
pub mod users;
mod validate;
pub mod why;

pub use engine::{PodEngine, PodHandle};
