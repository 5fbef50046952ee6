//! Exec, attach and port-forward over HTTP: the URLs that CRI answers, and what stands behind them.
//!
//! A connection is SPDY/3.1 or WebSocket. Either way it ends in a few byte streams, which the
//! [`Backend`] gets as async readers and writers; it knows no protocol.
//!
//! Back-pressure: what a client sends is buffered up to a bound per stream and one per connection,
//! and then its connection is no longer read (SPDY has no flow control, TCP's is for the whole connection); what a container
//! writes waits in a queue of a few chunks.

mod backend;
mod chunks;
mod exec;
mod idle;
mod pipe;
mod portforward;
mod resize;
mod server;
mod spdy;
mod status;
mod tls;
mod token;
mod upgrade;
mod websocket;
mod wire;

pub use backend::{Backend, BoxReader, BoxWriter, Connection, Size, Stdio};
pub use server::Streaming;
pub use tls::{Tls, TlsFiles};

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long a client may take to open the streams that belong together.
const STREAMS_WITHIN: Duration = Duration::from_secs(30);

/// How long a finished connection is read on, so that its last bytes are not lost to a reset.
const LINGER: Duration = Duration::from_secs(30);

/// A connection on which nothing but pings passed for so long is closed.
const IDLE: Duration = Duration::from_secs(4 * 3600);

/// What a client may send ahead of a container that does not read, in bytes per stream.
const READ_AHEAD: usize = 1 << 20;

/// The same before the stream is used, because others that belong to it are not there yet.
const READ_EARLY: usize = 64 << 10;

/// The same of all streams of a connection.
const READ_AHEAD_OF_ALL: usize = 4 << 20;

/// Chunks of output that wait for the client, of [`chunks::CHUNK`] bytes at most, per connection.
const QUEUE: usize = 8;

/// What every connection needs.
#[derive(Clone)]
struct Context {
    backend: Arc<dyn Backend>,
    shutdown: CancellationToken,
}
