//! The daemon over gRPC, with real pods in a sandbox. Needs root, `make tools` and `tests/setup`.
#![allow(clippy::unwrap_used)]

mod as_kubelet;
mod asked;
mod attacks;
mod cdi;
mod collection;
mod crowds;
mod daemon_death;
mod erofs;
mod exec;
mod filling_disk;
mod foreign_image;
mod full_disk;
mod groups;
mod handlers;
mod hung_disk;
mod hung_path;
mod hung_shim;
mod image_volumes;
mod life;
mod listener;
mod log;
mod metrics;
mod nri;
mod reboot;
mod reload;
mod removals;
mod requests;
mod shim_death;
mod stalled_registry;
mod stalled_store;
mod started_by;
mod suite;
mod told;
mod upgrade;
mod user_namespaces;
