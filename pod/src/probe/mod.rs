//! Probes: is it started, is it alive, is it ready.

mod check;
mod grpc;
mod http;
mod outcome;
mod results;
mod worker;

pub(crate) use check::port;
pub use check::{Target, check};
pub use http::{Fetch, HOOK_AGENT, PROBE_AGENT, Response, get, hook};
pub use outcome::Outcome;
pub use results::{Kind, Results, Verdict};
pub(crate) use worker::{Context, Workers};
