//! `rrun port-forward`: connections to ports of this machine go on to ports of a pod.
//!
//! Each is a connection of its own to a streaming URL of the CRI, over WebSocket: two channels for the
//! one port, data and error. Both begin with the port's number.

mod words;

use crate::args;
use crate::context::Context;
use crate::runtime::reach;
use crate::streaming::{self, Socket};
use crate::{table, terminal};
use anyhow::{Context as _, Result, anyhow, bail};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use rrun_cri_api::{Cri, v1};
use rrun_pod::supervise::Entry;
use rrun_pod::translate::labels;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
pub use words::{Address, Ports};

/// How often it is looked whether the pod is still there.
const LOOK: Duration = Duration::from_secs(1);

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// What both channels begin with.
const PORT: usize = 2;

/// Forwards until the pod ends.
pub async fn port_forward(context: &Context, args: args::PortForward) -> Result<ExitCode> {
    let pod = args.pod.strip_prefix("pod/").or_else(|| args.pod.strip_prefix("pods/"));
    let entry = context.store.find(pod.unwrap_or(&args.pod)).await?;
    if entry.phase().is_terminal() {
        bail!(
            "unable to forward port because pod is not running. Current status={}",
            entry.phase().as_str()
        );
    }
    let spec = entry.pod()?.spec;
    let of = reach(context, &entry).await?;
    let sandbox = sandbox(&*of.cri, entry.uid.as_str()).await?;
    let mut listeners = Vec::new();
    for ports in &args.ports {
        let remote = ports.remote(&spec)?;
        listeners.extend(listen(&args.address, ports.local(remote), remote).await?);
    }
    for Listener { socket, remote } in listeners {
        let to = Remote { cri: of.cri.clone(), sandbox: sandbox.clone(), port: remote };
        tokio::spawn(accept(socket, Arc::new(to)));
    }
    gone(context, &entry).await;
    terminal::tell("lost connection to pod");
    drop(of.locked);
    Ok(ExitCode::from(1))
}

/// Until the pod has ended.
async fn gone(context: &Context, entry: &Entry) {
    loop {
        tokio::time::sleep(LOOK).await;
        match context.store.find(entry.uid.as_str()).await {
            Ok(now) if !now.phase().is_terminal() => {}
            // A disk that hangs or fails says nothing of the pod.
            Err(e) if e.kind() != rrun_pod::error::Kind::NotFound => {}
            _ => return,
        }
    }
}

/// The newest sandbox of the pod.
async fn sandbox(cri: &dyn Cri, uid: &str) -> Result<String> {
    let label_selector = [(labels::POD_UID.to_owned(), uid.to_owned())].into();
    let state = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady as i32 };
    let filter = v1::PodSandboxFilter { label_selector, state: Some(state), ..Default::default() };
    let request = v1::ListPodSandboxRequest { filter: Some(filter) };
    let found = cri.list_pod_sandbox(request).await?.items;
    let newest = found.into_iter().max_by_key(|one| one.created_at);
    newest.map(|one| one.id).context("the pod has no sandbox that is ready")
}

struct Listener {
    socket: TcpListener,
    remote: u16,
}

/// Listens at each address. Of localhost one family is enough, as for kubectl.
async fn listen(addresses: &[Address], local: u16, remote: u16) -> Result<Vec<Listener>> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut port = local;
    for address in addresses {
        let (mut failed, before) = (None, listeners.len());
        for ip in address.ips() {
            match TcpListener::bind(SocketAddr::new(*ip, port)).await {
                Ok(socket) => {
                    let at = socket.local_addr()?;
                    // The same number in all families.
                    port = at.port();
                    table::write(&format!("Forwarding from {at} -> {remote}\n"))?;
                    listeners.push(Listener { socket, remote });
                }
                Err(error) => failed = Some((ip, error)),
            }
        }
        if let Some((ip, error)) = failed.filter(|_| listeners.len() == before) {
            let at = SocketAddr::new(*ip, port);
            bail!(
                "unable to listen on port {port}: listen at {at}: {}",
                rrun_error::reason(&error)
            );
        }
    }
    Ok(listeners)
}

/// Where connections go.
struct Remote {
    cri: Arc<dyn Cri>,
    sandbox: String,
    port: u16,
}

async fn accept(listener: TcpListener, to: Arc<Remote>) {
    let local = listener.local_addr().map_or(0, |at| at.port());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Want of descriptors passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = table::write(&format!("Handling connection for {local}\n"));
        let to = to.clone();
        tokio::spawn(async move {
            if let Err(error) = to.forward(stream).await {
                let port = to.port;
                terminal::tell(format_args!(
                    "an error occurred forwarding {local} -> {port}: {error:#}"
                ));
            }
        });
    }
}

impl Remote {
    async fn forward(&self, stream: TcpStream) -> Result<()> {
        let port = vec![i32::from(self.port)];
        let request = v1::PortForwardRequest { pod_sandbox_id: self.sandbox.clone(), port };
        let reply = self.cri.port_forward(request).await;
        let url = reply.map_err(|status| anyhow!("{}", status.message()))?.url;
        // Others than ours have the ports from the URL.
        let between = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{between}port={}", self.port);
        let socket = streaming::connect_port(&url).await.with_context(|| url.clone())?;
        let (to_pod, from_pod) = socket.split();
        let (from_client, to_client) = stream.into_split();
        let inward = tokio::spawn(inward(from_client, to_pod));
        let done = outward(from_pod, to_client).await;
        inward.abort();
        done
    }
}

/// What the client says. That it has said all cannot be told here: the connection lasts until the pod
/// ends it, or the client is gone.
async fn inward(mut client: OwnedReadHalf, mut pod: SplitSink<Socket, Message>) {
    loop {
        let mut frame = vec![DATA; 16 * 1024];
        let read = client.read(&mut frame[1..]).await;
        match read {
            Ok(0) => return std::future::pending().await,
            Ok(read) => {
                frame.truncate(1 + read);
                if pod.send(Message::binary(frame)).await.is_err() {
                    return;
                }
            }
            Err(_) => {
                let _ = pod.close().await;
                return;
            }
        }
    }
}

/// What the pod says, until it has said all.
async fn outward(mut pod: SplitStream<Socket>, mut client: OwnedWriteHalf) -> Result<()> {
    let mut heads = [PORT; 2];
    let mut error = Vec::new();
    while let Some(message) = pod.next().await {
        let Ok(Message::Binary(bytes)) = message else { continue };
        let Some((&channel, bytes)) = bytes.split_first() else { continue };
        let Some(head) = heads.get_mut(usize::from(channel)) else { continue };
        let skipped = bytes.len().min(*head);
        *head -= skipped;
        let bytes = &bytes[skipped..];
        if channel == ERROR {
            error.extend_from_slice(bytes);
        } else if client.write_all(bytes).await.is_err() {
            // The client has gone.
            return Ok(());
        }
        if !error.is_empty() {
            bail!("{}", String::from_utf8_lossy(&error).trim_end());
        }
    }
    let _ = client.shutdown().await;
    Ok(())
}
