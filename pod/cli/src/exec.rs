//! `rrun exec`: a command in a container, over the streaming URL as any client does it.
//!
//! The protocol is `v5.channel.k8s.io` on a WebSocket: each message begins with its channel.

use crate::args;
use crate::node;
use crate::shelf::{self, Held};
use crate::terminal::{self, Raw};
use anyhow::{Context, Result, anyhow, bail};
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use rrun_cri::config::Config;
use rrun_cri_api::{Client, Cri, v1};
use rrun_pod::translate::labels;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Closes the channel that its one byte names.
const CLOSE: u8 = 255;

/// Runs the command; its exit code is ours.
pub async fn exec(config: Arc<Config>, args: args::Exec) -> Result<ExitCode> {
    let entry = shelf::find(&config, &args.pod)?;
    let spec = entry.pod(&config)?.spec;
    let container = match args.container {
        Some(name) if spec.find(&name).is_none() => {
            bail!("pod {}: container {name}: not found", args.pod);
        }
        Some(name) => name,
        None => spec.containers.first().context("the pod has no containers")?.name.clone(),
    };
    let cri: Arc<dyn Cri>;
    let _held;
    match Held::existing(&config, &entry).await? {
        Some(held) => {
            cri = node::open(&config, &entry.uid).await?.cri;
            _held = held;
        }
        None => {
            let socket = entry.socket(&config, "cri");
            cri = Arc::new(Client::connect(&format!("unix://{}", socket.display())).await?);
        }
    }
    let id = running(&*cri, &entry.uid, &container).await?;
    let request = v1::ExecRequest {
        container_id: id,
        cmd: args.command,
        tty: args.tty,
        stdin: args.stdin,
        stdout: true,
        stderr: !args.tty,
    };
    let url = cri.exec(request).await.map_err(|status| anyhow!("{}", status.message()))?.url;
    let socket = connect(&url).await.with_context(|| format!("exec: {url}"))?;
    let raw = if args.tty && args.stdin { Raw::enter() } else { None };
    let code = converse(socket, args.stdin, args.tty).await;
    drop(raw);
    Ok(ExitCode::from(code?))
}

/// The id of the run of a container that is going on.
async fn running(cri: &dyn Cri, uid: &str, container: &str) -> Result<String> {
    let of = [(labels::POD_UID, uid), (labels::CONTAINER_NAME, container)];
    let label_selector = of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let state = v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 };
    let filter = v1::ContainerFilter { label_selector, state: Some(state), ..Default::default() };
    let request = v1::ListContainersRequest { filter: Some(filter) };
    let found = cri.list_containers(request).await?.containers.into_iter().next();
    found.map(|found| found.id).with_context(|| format!("container {container}: it does not run"))
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(url: &str) -> Result<Socket> {
    let url = url.replacen("http://", "ws://", 1);
    let mut request = url.as_str().into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", PROTOCOL.parse()?);
    let address = request.uri().authority().context("no address in it")?.as_str().to_owned();
    let stream = TcpStream::connect(&address).await?;
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(socket)
}

/// Moves the streams until the command has ended: its exit code.
async fn converse(socket: Socket, stdin: bool, tty: bool) -> Result<u8> {
    let (output, mut input) = socket.split();
    let (sender, frames) = mpsc::channel(16);
    let writer = tokio::spawn(write(output, frames));
    let mut feeders = Vec::new();
    if stdin {
        feeders.push(tokio::spawn(feed(sender.clone())));
    }
    if tty {
        feeders.push(tokio::spawn(resize(sender.clone())));
    }
    let mut code = None;
    while let Some(message) = input.next().await {
        let Message::Binary(bytes) = message? else { continue };
        let Some((channel, bytes)) = bytes.split_first() else { continue };
        match *channel {
            STDOUT => put(&mut std::io::stdout().lock(), bytes)?,
            STDERR => put(&mut std::io::stderr().lock(), bytes)?,
            ERROR => {
                code = Some(ended(bytes)?);
                break;
            }
            _ => {}
        }
    }
    feeders.iter().for_each(tokio::task::JoinHandle::abort);
    writer.abort();
    code.context("exec: the connection ended before the command")
}

fn put(to: &mut dyn Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

async fn write(mut output: SplitSink<Socket, Message>, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if output.send(Message::binary(frame)).await.is_err() {
            return;
        }
    }
    // Kept open: to close it would end the command.
    std::future::pending::<()>().await;
}

async fn feed(frames: mpsc::Sender<Vec<u8>>) {
    let mut stdin = tokio::io::stdin();
    loop {
        let mut frame = vec![STDIN; 8193];
        let read = stdin.read(&mut frame[1..]).await.unwrap_or(0);
        frame.truncate(1 + read);
        let frame = if read == 0 { vec![CLOSE, STDIN] } else { frame };
        if frames.send(frame).await.is_err() || read == 0 {
            return;
        }
    }
}

/// Tells the size of the terminal, now and when it changes.
async fn resize(frames: mpsc::Sender<Vec<u8>>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some((rows, columns)) = terminal::size() {
            let size = json!({ "Width": columns, "Height": rows }).to_string();
            let frame = [&[RESIZE], size.as_bytes()].concat();
            if frames.send(frame).await.is_err() {
                return;
            }
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// The exit code in a `metav1.Status`.
fn ended(status: &[u8]) -> Result<u8> {
    let status: Value = serde_json::from_slice(status).context("exec: status")?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode");
    match code.and_then(|cause| cause["message"].as_str()?.parse::<i32>().ok()) {
        Some(code) => Ok(u8::try_from(code).unwrap_or(255)),
        None => bail!("exec: {}", status["message"].as_str().unwrap_or("failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn the_exit_code_is_read_from_the_status() {
        let failed = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":
            [{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(ended(br#"{"status":"Success"}"#).unwrap(), 0);
        assert_eq!(ended(failed).unwrap(), 3);
        let other = br#"{"status":"Failure","message":"no such container"}"#;
        assert_eq!(ended(other).unwrap_err().to_string(), "exec: no such container");
    }
}
