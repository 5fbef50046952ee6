//! One try of one probe.

use std::time::Duration;

use rrun_cri_api::{Cri, v1};
use tokio::net::TcpStream;
use tonic::Code;

use super::result::ProbeResult;
use super::{dial, grpc, http};
use crate::env;
use crate::model::{Container, Handler, PortRef, Probe};

/// Who is probed.
#[derive(Clone, Copy, Debug)]
pub struct ProbedContainer<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its present run.
    pub id: &'a str,
    /// The pod's address; empty if it has none.
    pub address: &'a str,
}

/// The kubelet keeps no more of a probe's output.
const MAX_OUTPUT: usize = 10 << 10;

/// Tries once.
pub async fn check(cri: &dyn Cri, probe: &Probe, container: ProbedContainer<'_>) -> ProbeResult {
    let timeout = Duration::from_secs(probe.timeout.into());
    match &probe.handler {
        Handler::Exec(command) => {
            let fixed = env::fixed(container.container);
            match fixed.expand(command) {
                Ok(command) => exec(cri, container.id, command, probe.timeout).await,
                Err(e) => ProbeResult::Error(e.to_string()),
            }
        }
        Handler::HttpGet(get) => {
            let Some(port) = port(&get.port, container.container) else {
                return no_port(&get.port);
            };
            let host = if get.host.is_empty() { container.address } else { &get.host };
            http::probe(&http::Fetch {
                get,
                host,
                port,
                timeout: Some(timeout),
                agent: http::PROBE_AGENT,
            })
            .await
        }
        Handler::TcpSocket { host, port: wanted } => {
            let Some(port) = port(wanted, container.container) else { return no_port(wanted) };
            let host = if host.is_empty() { container.address } else { host };
            tcp(host, port, timeout).await
        }
        Handler::Grpc { port, service } => {
            grpc::check(container.address, *port, service, timeout).await
        }
        Handler::Sleep(_) => ProbeResult::Error("a probe cannot sleep".to_owned()),
    }
}

/// The number of a port that may be named.
pub fn port(wanted: &PortRef, container: &Container) -> Option<u16> {
    match wanted {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => container.port_named(name),
    }
}

fn no_port(wanted: &PortRef) -> ProbeResult {
    ProbeResult::Error(format!("couldn't find port {wanted:?}"))
}

async fn exec(cri: &dyn Cri, id: &str, command: Vec<String>, timeout: u32) -> ProbeResult {
    let request =
        v1::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout: timeout.into() };
    match cri.exec_sync(request).await {
        Ok(reply) => {
            let mut output = reply.stdout;
            output.extend_from_slice(&reply.stderr);
            output.truncate(MAX_OUTPUT);
            let text = String::from_utf8_lossy(&output).into_owned();
            if reply.exit_code == 0 {
                ProbeResult::Success(text)
            } else {
                ProbeResult::Failure(text)
            }
        }
        // A command that hangs says that the container is ill; every other error says nothing.
        Err(e) if e.code() == Code::DeadlineExceeded => {
            ProbeResult::Failure(format!("command timed out: {}", e.message()))
        }
        Err(e) => ProbeResult::Error(format!("rpc error: {}", e.message())),
    }
}

async fn tcp(host: &str, port: u16, timeout: Duration) -> ProbeResult {
    let place = dial::place(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => ProbeResult::Success(String::new()),
        Ok(Err(e)) => ProbeResult::Failure(dial::failure(&place, &e)),
        Err(_) => ProbeResult::Failure(format!("dial tcp {place}: i/o timeout")),
    }
}
