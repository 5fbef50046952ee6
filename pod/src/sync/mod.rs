//! The pod worker: look, decide, do, until the pod is over.

pub(crate) mod actions;
pub(crate) mod behind;
mod hooks;
mod image_volumes;
mod init;
mod kill;
pub mod observe;
mod pending;
mod plan;
mod pod_loop;
pub(crate) mod pull;
mod relist;
mod resize;
mod restart;
mod services;
mod start;
mod terminate;
pub(crate) mod termination_messages;
mod termination_order;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use worker::{PodWorker, Stop};
