//! `rrun port-forward`: connections to ports of this machine go on to ports of a pod.
//!
//! Each is a connection of its own to a streaming URL of the CRI, over SPDY: two streams for the one port,
//! data and error. What one side has said all of ends on its way, and the other goes on.

mod spdy;
mod words;

use crate::args;
use crate::context::Context;
use crate::runtime::reach;
use crate::{table, terminal};
use anyhow::{Context as _, Result, anyhow, bail};
use rrun_cri_api::{Cri, v1};
use rrun_pod::supervise::Entry;
use rrun_pod::translate::labels;
use spdy::{DATA, ERROR, Received};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
pub use words::{Address, Ports};

/// How often it is looked whether the pod is still there.
const LOOK: Duration = Duration::from_secs(1);

/// More of an error is not shown.
const LONGEST: usize = 4 << 10;

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
        let connected = spdy::connect(&url, self.port).await;
        let (from_pod, to_pod) = connected.with_context(|| url.clone())?;
        let (from_client, to_client) = stream.into_split();
        tokio::select! {
            done = outward(from_pod, to_client) => done,
            () = inward(from_client, to_pod) => Ok(()),
        }
    }
}

/// What the client says, and that it has said all; until the client is gone.
async fn inward(mut client: OwnedReadHalf, mut pod: spdy::Writer) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let sent = match client.read(&mut bytes).await {
            Ok(0) => {
                let _ = pod.end().await;
                break;
            }
            Ok(read) => pod.send(&bytes[..read]).await,
            Err(_) => return,
        };
        if sent.is_err() {
            break;
        }
    }
    // The answer may take its time; why no more can be sent is found by whoever reads.
    std::future::pending().await
}

/// What the pod says, until it has said all and the server has told how it went.
async fn outward(mut pod: spdy::Reader, mut client: OwnedWriteHalf) -> Result<()> {
    let (mut has_said_all, mut has_told) = (false, false);
    let mut error = Vec::new();
    while !(has_said_all && has_told) {
        match pod.next().await.context("read from the server")? {
            Some(Received::Bytes(DATA, bytes)) => {
                if client.write_all(&bytes).await.is_err() {
                    // The client has gone.
                    return Ok(());
                }
            }
            Some(Received::Bytes(ERROR, bytes)) => {
                error.extend_from_slice(&bytes[..bytes.len().min(LONGEST - error.len())]);
            }
            Some(Received::End(DATA)) => {
                let _ = client.shutdown().await;
                has_said_all = true;
            }
            Some(Received::End(ERROR)) => has_told = true,
            Some(_) => {}
            // Some servers tell nothing at the end.
            None if has_said_all => break,
            None => bail!("the connection to the server has ended"),
        }
        if has_told && !error.is_empty() {
            bail!("{}", String::from_utf8_lossy(&error).trim_end());
        }
    }
    Ok(())
}
