//! The OCI runtime: specification to plan, plan to processes, and the `rrun-oci` command.
//!
//! [`plan`] decides and touches nothing; [`run`] does what a plan says and decides nothing.
//! Neither knows of pods, of CRI or of images: they take an OCI bundle.

pub mod plan;
