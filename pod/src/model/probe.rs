//! Probes and the handlers that hooks share with them.

use std::fmt;
use std::time::Duration;

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// 1 to 65535.
    Number(u16),
    /// A port of the container.
    Name(String),
}

/// `HTTP` or `HTTPS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS, the certificate is not checked.
    Https,
}

/// An HTTP GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGet {
    /// The pod's address if empty.
    pub host: String,
    /// Where it listens.
    pub port: PortRef,
    /// Begins with `/`; may have a query.
    pub path: String,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// In order; a `Host` among them is honoured.
    pub headers: Vec<(String, String)>,
}

/// What a probe or a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// A command in the container; not in a shell.
    Exec(Vec<String>),
    /// An HTTP GET from the node.
    HttpGet(HttpGet),
    /// A TCP connection from the node (probes only).
    TcpSocket {
        /// The pod's address if empty.
        host: String,
        /// Where it listens.
        port: PortRef,
    },
    /// `grpc.health.v1.Health/Check` (probes only).
    Grpc {
        /// Where it listens.
        port: u16,
        /// Empty for the whole server.
        service: String,
    },
    /// A wait (hooks only).
    Sleep(Duration),
}

/// One probe with its timing, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it does.
    pub handler: Handler,
    /// Whole seconds after the container's start.
    pub initial_delay: u32,
    /// Seconds that one try may take.
    pub timeout: u32,
    /// Seconds between tries.
    pub period: u32,
    /// Successes in a row until it counts.
    pub success_threshold: u32,
    /// Failures in a row until it counts.
    pub failure_threshold: u32,
    /// Grace for the kill that this probe causes, instead of the pod's.
    pub termination_grace_period: Option<u32>,
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRef::Number(number) => write!(f, "{number}"),
            PortRef::Name(name) => f.write_str(name),
        }
    }
}

/// As `kubectl describe pod` has it: `http-get http://:8080/`.
impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Handler::Exec(command) => write!(f, "exec [{}]", command.join(" ")),
            Handler::HttpGet(HttpGet { host, port, path, scheme, .. }) => {
                let scheme = if *scheme == Scheme::Https { "https" } else { "http" };
                write!(f, "http-get {scheme}://{host}:{port}{path}")
            }
            Handler::TcpSocket { host, port } => write!(f, "tcp-socket {host}:{port}"),
            Handler::Grpc { port, service } => write!(f, "grpc <pod>:{port} {service}"),
            Handler::Sleep(time) => write!(f, "sleep {}s", time.as_secs()),
        }
    }
}

/// As `kubectl describe pod` has it: `… delay=0s timeout=1s period=10s #success=1 #failure=3`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probe { handler, initial_delay, timeout, period, .. } = self;
        write!(f, "{handler} delay={initial_delay}s timeout={timeout}s period={period}s ")?;
        write!(f, "#success={} #failure={}", self.success_threshold, self.failure_threshold)
    }
}
