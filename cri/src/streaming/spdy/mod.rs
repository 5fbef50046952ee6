//! SPDY/3.1, the server's half of what Kubernetes clients use of it.
//!
//! There is no flow control, one header compressor per direction, and only clients open streams.

mod frame;
mod headers;
mod session;

#[cfg(test)]
pub(super) use headers::tests::Client;

pub(super) use session::{Session, Stream, StreamWriter};
