//! Control groups: made, killed, removed and read, on v1, hybrid and v2.
//!
//! Plain file writes instead of a library such as cgroups-rs: a container's child joins its
//! groups itself, through descriptors that its parent opened before the clone, or is cloned into
//! them by CLONE_INTO_CGROUP. Such a library joins by pid, after the clone, from the parent, and
//! moving a running process costs the kernel a grace period for each hierarchy.

mod controllers;
mod devices;
mod freeze;
mod kill;
mod layout;
mod make;
mod members;
mod missing;
mod move_processes;
mod oom;
mod opened;
mod remove;
mod resources;
pub mod stats;

#[cfg(fuzzing)]
pub(crate) use layout::fuzz_mountinfo;

pub use controllers::{ControllerDir, Controllers};
pub use devices::DevicePolicy;
pub use freeze::{freeze, freezer, is_frozen, thaw};
pub use kill::{kill, processes, signal};
pub use layout::{Hierarchy, Layout, Mode};
pub(crate) use make::{Purpose, complete, enter};
pub use make::{create, join, make, place, update};
pub use missing::missing;
pub use move_processes::move_processes;
pub use oom::OomKills;
pub use opened::Opened;
pub use remove::{Tried, remove, remove_patiently, try_remove, try_remove_few};
pub use resources::{Resources, Setting, Value};
