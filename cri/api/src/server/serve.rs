//! Connections of a unix socket, each HTTP/2.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::Service as _;
use tonic::service::Routes;

use super::silent::Silent;

/// How long calls in flight may take to end after the shutdown; event streams never do.
const GRACE: Duration = Duration::from_secs(5);

/// How many clients may be connected that have never called: each takes a descriptor.
const SILENT_MAX: usize = 64;

/// Serves `routes` on `listener` until `shutdown` resolves, then stops accepting, lets calls in
/// flight end for at most five seconds, and closes. Of clients that have never called 64 stay
/// connected: the oldest makes room for the next.
///
/// # Errors
/// When the listener cannot accept for a reason that will not pass. Want of descriptors or memory
/// passes, and an error of one connection is that connection's.
pub async fn serve(
    listener: UnixListener,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let routes = routes.prepare();
    let connections = TaskTracker::new();
    let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
    let mut shutdown = pin!(shutdown);
    let mut silent = Silent::new(SILENT_MAX);
    let ended = loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (closed, has_called) = silent.next(&closed);
                let connection = connection(stream, routes.clone(), closing.clone(), has_called);
                connections.spawn(closed.run_until_cancelled_owned(connection));
            }
            Err(e) if passes(&e) => sleep(Duration::from_millis(50)).await,
            Err(e) => break Err(e),
        }
    };
    drop(listener);
    closing.cancel();
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        closed.cancel();
        connections.wait().await;
    }
    ended
}

async fn connection(
    stream: UnixStream,
    routes: Routes,
    closing: CancellationToken,
    has_called: Arc<AtomicBool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        has_called.store(true, Ordering::Relaxed);
        routes.clone().call(request)
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // A node's clients are few and trusted: root, over a socket of mode 0660.
    builder.max_concurrent_streams(None);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that vanishes is no event: its calls were answered or dropped.
    drop(ended);
}

/// Whether an accept may work again soon (accept(2): "treat them like EAGAIN", and EMFILE).
fn passes(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, OutOfMemory};
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(e.kind(), ConnectionAborted | Interrupted | OutOfMemory)
        || matches!(e.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}
