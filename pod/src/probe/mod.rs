//! Probes: is it started, is it alive, is it ready.

mod check;
mod dial;
mod grpc;
mod http;
mod result;
mod results;
mod worker;

pub(crate) use check::port;
pub use check::{ProbedContainer, check};
pub use http::{Fetch, HOOK_AGENT, PROBE_AGENT, Response, get, hook};
pub use result::ProbeResult;
pub use results::{ProbeKind, Results, Verdict};
pub(crate) use worker::{ProbeContext, ProbeWorkers};
