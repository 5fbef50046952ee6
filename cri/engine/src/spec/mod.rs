//! From what a client asks for to an OCI configuration: pure functions, so that a table can test
//! them. What they need of the host and of the image is looked up before, by [`planner`].

mod adjust;
mod build;
mod capabilities;
mod cdi;
mod devices;
mod exec;
mod filters;
mod host;
mod mounts;
mod namespaces;
mod planner;
mod process;
mod profile;
mod program;
mod resources;
mod signal;
#[cfg(test)]
mod tests;
mod user;

pub(crate) use adjust::{add_cdi, adjust};
pub(crate) use cdi::{asked as cdi_devices, look_up_named as look_up_cdi};
pub(crate) use exec::ExecTemplate;
pub(crate) use host::{OnHost, PodProfiles, look_up, look_up_pod};
pub(crate) use namespaces::namespaces;
pub(crate) use planner::{Configured, Planner, Wanted, runtime_hooks};
pub(crate) use profile::{AppArmor, apparmor, pod_apparmor, refuse_selinux};
pub(crate) use program::{ForProgram, for_program};
pub(crate) use resources::{asked as asked_limits, keep_from_swapping, limits_of};
pub(crate) use signal::stop_signal;
pub(crate) use user::numeric_id;
