//! The pod and container model behind the CRI surface.
//!
//! [`Engine`] is one object with one method per verb; a daemon and the stand-alone tool host it
//! alike. It decides (configuration to plan), keeps the records, and reaches images, network and
//! shims through the small traits of [`ports`]. It knows no protobuf: [`model`] is what clients
//! ask for, [`status`] and [`stats`] what they see.

mod adapters;
mod apparmor;
mod blocking;
pub mod check;
mod config;
mod counters;
mod counts;
mod descriptors;
mod dirs;
mod disk;
mod engine;
mod error;
mod event;
mod files;
pub mod fsck;
mod groups;
pub mod handlers;
mod host_paths;
mod id;
mod info;
mod jobs;
mod layers;
mod look;
mod measured;
mod metrics;
pub mod model;
mod on_disk;
mod phase;
mod plugins;
mod pod_groups;
pub mod ports;
mod queue;
mod record;
mod recorded;
mod recover;
mod scrapers;
mod session;
mod sessions;
mod spec;
pub mod stats;
pub mod status;
mod steps;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod verbs;
mod view;

pub use config::{CgroupDriver, Config, LogLimits, Lsm, Settings, Takeover};
pub use counts::Counts;
pub use engine::Engine;
pub use error::{Error, Kind, Result};
pub use event::{Event, EventKind, Events};
pub use id::{ContainerId, Owner, PodId};
pub use look::{HostLook, Mode};
pub use on_disk::containers_on_record;
pub use phase::{ContainerPhase, PodPhase};
pub use plugins::Noted;
pub use pod_groups::{Parents, PodGroups, PodLimits};
pub use recover::Recovery;
pub use session::{AttachRequest, ExecOutput, ExecRequest, Forward, Session};
