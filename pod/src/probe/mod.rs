//! Probes: is it started, is it alive, is it ready.

mod check;
mod grpc;
mod http;
mod results;
mod worker;

pub(crate) use check::port;
pub use check::{Outcome, Target, check};
pub use http::{Fetch, Response, get};
pub use results::{Kind, Results, Verdict};
pub(crate) use worker::{Context, Workers};
