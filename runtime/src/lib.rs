//! The OCI runtime: configuration to plan, plan to processes, and the `rrun-oci` command.
//!
//! [`planning`] and [`seccomp`] decide and touch nothing: they make a [`plan`]; [`run`] does what a
//! plan says and decides nothing; [`cgroup`] is where a container's control groups are made,
//! read, killed and removed, [`systemd`] who makes them where it is the first process; [`criu`] keeps
//! the processes of a container in files and makes them again.
//! None of them knows of pods, of CRI or of images: they take an OCI bundle.

pub mod cgroup;
pub mod criu;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod hooks;
pub mod plan;
pub mod planning;
pub mod run;
pub mod seccomp;
mod sysctl;
pub mod systemd;

pub use error::{Context, Error, Kind, Result};
