//! The streaming server against the real Kubernetes clients, over both transports.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backend;
mod client;
mod exec;
mod forward;
mod http;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rrun_cri::streaming::{Streaming, Tls};
use rrun_cri_api::v1::{ExecRequest, PortForwardRequest};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use backend::{Commands, Event};

struct Served {
    streaming: Streaming,
    release: Arc<Notify>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Served {
    async fn start() -> Served {
        Served::start_within(100_000).await
    }

    /// In a process that may have so many descriptors.
    async fn start_within(descriptors: u64) -> Served {
        Served::start_with(descriptors, None).await
    }

    async fn start_with(descriptors: u64, tls: Option<Tls>) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (commands, events) = Commands::new();
        let release = Arc::clone(&commands.release);
        let commands = Arc::new(commands);
        let streaming = Streaming::start_within(listener, commands, tls, descriptors).unwrap();
        Served { streaming, release, events }
    }

    fn exec(&self, cmd: &[&str], streams: &str) -> String {
        self.streaming.exec_url(exec_request(cmd, streams)).unwrap()
    }

    fn forward(&self, ports: &[i32]) -> String {
        let request = PortForwardRequest { pod_sandbox_id: "pod".into(), port: ports.to_vec() };
        self.streaming.port_forward_url(request).unwrap()
    }

    async fn event(&mut self) -> Event {
        within(self.events.recv()).await.unwrap()
    }
}

/// `streams`: letters of i(n), o(ut), e(rr), t(ty).
fn exec_request(cmd: &[&str], streams: &str) -> ExecRequest {
    ExecRequest {
        container_id: "container".into(),
        cmd: cmd.iter().map(|s| s.to_string()).collect(),
        tty: streams.contains('t'),
        stdin: streams.contains('i'),
        stdout: streams.contains('o'),
        stderr: streams.contains('e'),
    }
}

/// Bounds a test that would hang.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("within two minutes")
}
