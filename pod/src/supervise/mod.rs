//! Supervision: everything that goes on around a pod while an engine runs it.
//!
//! A program that runs pods takes one ([`Store::lock_to_run`]), hands it to an engine from where it
//! was left ([`crate::PodEngine::resume`]), opens its [`control`] socket and lets [`supervise`] keep
//! its records until it is over. Whoever comes after it, killed or not, does the same.

pub mod container_gc;
pub mod control;
mod definition;
pub mod image_gc;
pub mod logs;
pub mod reach;
mod recording;
pub mod rotate;
mod store;
mod supervisor;

pub use definition::Definition;
pub use store::{Entry, LockedPod, Redefinition, Store};
pub use supervisor::{Ended, Supervision, supervise};
