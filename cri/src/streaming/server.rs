//! The HTTP server: tokens in, upgraded connections out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit};
use rrun_blocking::{Full, Place, Shares};
use rrun_cri_api::server::Silent;
use rrun_cri_api::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::exec::Job;
use super::tls::Tls;
use super::token::{Request, Tokens};
use super::upgrade::{self, Agreed, Answer, TUNNEL, Transport};
use super::wire::Wire;
use super::{Backend, Context, exec, portforward, websocket};

/// How long sessions may take to tell their clients of the shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// How many clients there are at most, however many descriptors there are.
const CLIENTS_MAX: u64 = 4096;

/// How many clients may be connected that have not come to a stream: each takes a descriptor.
const SILENT_MAX: usize = 256;

/// The streaming server. Dropped, it stops as after [`Streaming::shutdown`], without waiting.
pub struct Streaming {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _stop: tokio_util::sync::DropGuard,
}

struct Shared {
    tokens: Tokens,
    context: Context,
    tasks: TaskTracker,
    clients: Clients,
    tls: Option<Arc<Tls>>,
}

/// The places for clients that have come to a stream, each of which takes a descriptor. Those of one
/// container or pod may have half.
struct Clients {
    places: Shares,
    each: usize,
    count: usize,
    descriptors: u64,
}

impl Clients {
    fn within(descriptors: u64) -> Clients {
        let count = usize::try_from((descriptors / 8).clamp(1, CLIENTS_MAX)).unwrap_or(1);
        let each = count.div_ceil(2);
        Clients { places: Shares::new(count, each), each, count, descriptors }
    }

    /// Takes one, or says why not.
    async fn take(&self, wanted: &Request) -> Result<Place, String> {
        let (of, id) = match wanted {
            Request::Exec(r) => ("container", &r.container_id),
            Request::Attach(r) => ("container", &r.container_id),
            Request::PortForward(r) => ("pod", &r.pod_sandbox_id),
        };
        self.places.take(id, Duration::ZERO).await.map_err(|full| {
            let clients = match full {
                Full::Share => format!("{} clients of this {of} are connected", self.each),
                Full::All => format!("{} clients are connected", self.count),
            };
            let descriptors = self.descriptors;
            format!("{clients}, and no more may at once (RLIMIT_NOFILE is {descriptors})\n")
        })
    }
}

impl Streaming {
    /// Serves on `listener`, usually 127.0.0.1 with a port of the kernel's choice.
    ///
    /// # Errors
    /// When the listener's address cannot be told.
    pub fn start(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        tls: Option<Tls>,
    ) -> io::Result<Streaming> {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Streaming::start_within(listener, backend, tls, descriptors)
    }

    /// As [`Streaming::start`], in a process that may have so many descriptors.
    ///
    /// # Errors
    /// As there.
    pub fn start_within(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        tls: Option<Tls>,
        descriptors: u64,
    ) -> io::Result<Streaming> {
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let context = Context { backend, shutdown: shutdown.clone() };
        let clients = Clients::within(descriptors);
        let tokens = Tokens::default();
        let tls = tls.map(Arc::new);
        let shared = Arc::new(Shared { tokens, context, tasks: tasks.clone(), clients, tls });
        let accepting = accept(listener, Arc::clone(&shared));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(accepting));
        Ok(Streaming { address, shared, tasks, _stop: shutdown.drop_guard() })
    }

    /// A URL for one exec. The container is looked up by whoever calls.
    ///
    /// # Errors
    /// `InvalidArgument` without an id or a stream, or for a terminal with stderr;
    /// `ResourceExhausted` while a thousand URLs wait to be dialled.
    pub fn exec_url(&self, r: ExecRequest) -> Result<String, Status> {
        check_id("exec", &r.container_id)?;
        if r.cmd.is_empty() {
            return Err(Status::invalid_argument("exec: no command"));
        }
        check_streams("exec", r.tty, r.stderr, r.stdin || r.stdout)?;
        self.url("exec", Request::Exec(r))
    }

    /// A URL for one attach; errors as for exec.
    ///
    /// # Errors
    /// As [`Streaming::exec_url`].
    pub fn attach_url(&self, r: AttachRequest) -> Result<String, Status> {
        check_id("attach", &r.container_id)?;
        check_streams("attach", r.tty, r.stderr, r.stdin || r.stdout)?;
        self.url("attach", Request::Attach(r))
    }

    /// A URL for one client, which may forward many connections.
    ///
    /// # Errors
    /// `InvalidArgument` without an id, or for a port beyond 65535; `ResourceExhausted` as above.
    pub fn port_forward_url(&self, r: PortForwardRequest) -> Result<String, Status> {
        check_id("port-forward", &r.pod_sandbox_id)?;
        if let Some(port) = r.port.iter().find(|p| !(1..=65535).contains(*p)) {
            return Err(Status::invalid_argument(format!("port-forward: no port {port}")));
        }
        self.url("portforward", Request::PortForward(r))
    }

    /// Stops accepting and ends every session; commands that still run are dropped, and their
    /// clients are told so.
    pub async fn shutdown(&self) {
        self.shared.context.shutdown.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(GRACE, self.tasks.wait()).await;
    }

    /// How many clients have a stream now.
    pub fn clients(&self) -> usize {
        self.shared.clients.count - self.shared.clients.places.free()
    }

    fn url(&self, verb: &str, request: Request) -> Result<String, Status> {
        let token = self.shared.tokens.issue(request)?;
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}/{verb}/{token}", self.address))
    }
}

fn check_id(verb: &str, id: &str) -> Result<(), Status> {
    match id {
        "" => Err(Status::invalid_argument(format!("{verb}: no id"))),
        _ => Ok(()),
    }
}

fn check_streams(verb: &str, tty: bool, stderr: bool, other: bool) -> Result<(), Status> {
    if tty && stderr {
        return Err(Status::invalid_argument(format!("{verb}: a terminal has no stderr")));
    }
    if !stderr && !other {
        let text = format!("{verb}: want at least one of stdin, stdout and stderr");
        return Err(Status::invalid_argument(text));
    }
    Ok(())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut silent = Silent::new(SILENT_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (closed, is_http) = silent.next(&shared.context.shutdown);
                let http = http(stream, Arc::clone(&shared));
                let connection = async move {
                    http.await;
                    drop(is_http);
                };
                shared.tasks.spawn(closed.run_until_cancelled_owned(connection));
            }
            Err(e) => {
                // Want of descriptors, or a client that left at once: both pass.
                tracing::warn!("streaming: accept: {}", rrun_error::reason(&e));
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn http(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let wire = match &shared.tls {
        None => Wire::Bare(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => Wire::Tls(Box::new(stream)),
            Err(e) => return tracing::debug!("streaming: TLS: {}", rrun_error::reason(&e)),
        },
    };
    let service = service_fn(move |request: http::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    if let Err(e) = connection.await {
        tracing::debug!("streaming: HTTP: {e}");
    }
}

async fn answer(mut request: http::Request<Incoming>, shared: &Shared) -> Answer {
    let found = target(request.uri().path()).and_then(|(verb, token)| {
        Some((verb.to_owned(), token.to_owned(), shared.tokens.look(token)?))
    });
    let Some((verb, token, wanted)) = found else { return unknown() };
    let (forward, name) = match &wanted {
        Request::Exec(_) => (false, "exec"),
        Request::Attach(_) => (false, "attach"),
        Request::PortForward(_) => (true, "portforward"),
    };
    if verb != name {
        return unknown();
    }
    let agreed = match upgrade::agree(forward, request.method(), request.headers()) {
        Ok(agreed) => agreed,
        Err(refusal) => return *refusal,
    };
    let place = match shared.clients.take(&wanted).await {
        Ok(place) => place,
        Err(words) => return upgrade::plain(StatusCode::SERVICE_UNAVAILABLE, words),
    };
    if !shared.tokens.spend(&token) {
        return unknown();
    }
    let answer = upgrade::switch(agreed, request.headers());
    let upgraded = hyper::upgrade::on(&mut request);
    let context = shared.context.clone();
    shared.tasks.spawn(async move {
        match connection(upgraded).await {
            Ok((stream, early)) => stream_on(stream, &early, agreed, wanted, &context).await,
            Err(e) => tracing::debug!("streaming: upgrade: {e}"),
        }
        drop(place);
    });
    answer
}

fn target(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.split_once('/')
}

fn unknown() -> Answer {
    upgrade::plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The bare connection, and what the HTTP server read beyond the request.
async fn connection(upgraded: OnUpgrade) -> Result<(Wire, Vec<u8>), String> {
    let upgraded = upgraded.await.map_err(|e| e.to_string())?;
    let parts = upgraded.downcast::<TokioIo<Wire>>().map_err(|_| "not a client's connection")?;
    Ok((parts.io.into_inner(), parts.read_buf.to_vec()))
}

async fn stream_on(stream: Wire, early: &[u8], agreed: Agreed, wanted: Request, context: &Context) {
    let job = match wanted {
        Request::Exec(r) => Job::Exec(r),
        Request::Attach(r) => Job::Attach(r),
        Request::PortForward(r) => {
            return match (agreed.transport, agreed.protocol) {
                (Transport::Spdy, _) => {
                    let (reader, writer) = stream.split();
                    portforward::serve(reader, writer, early, &r.pod_sandbox_id, context).await;
                }
                (Transport::WebSocket, TUNNEL) => {
                    let (reader, writer) = websocket::tunnel(stream, early).await;
                    portforward::serve(reader, writer, &[], &r.pod_sandbox_id, context).await;
                }
                (Transport::WebSocket, protocol) => {
                    let socket = websocket::Socket::new(stream, early, protocol).await;
                    websocket::port_forward(socket, r, context).await;
                }
            };
        }
    };
    match agreed.transport {
        Transport::Spdy => exec::over_spdy(stream, early, agreed.protocol, job, context).await,
        Transport::WebSocket => {
            let socket = websocket::Socket::new(stream, early, agreed.protocol).await;
            websocket::exec(socket, job, context).await;
        }
    }
}
