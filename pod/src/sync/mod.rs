//! The pod worker: look, decide, do, until the pod is over.

pub(crate) mod actions;
mod hooks;
mod init;
mod kill;
mod messages;
pub mod observe;
mod order;
mod plan;
mod pod_loop;
mod pull;
mod start;
mod terminate;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use worker::{Stop, Worker};
