//! A streaming URL of a CRI server, as any client speaks to it: remote commands on a WebSocket.
//!
//! Each message begins with its channel. `v5.channel.k8s.io` can close one channel alone; where a
//! server knows `v4` only, the command is not told that its standard input has ended.

use crate::terminal;
use anyhow::{Context, Result, bail};
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::Write;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// The newest that we speak first.
const PROTOCOLS: &str = "v5.channel.k8s.io, v4.channel.k8s.io";
const CAN_CLOSE: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Closes the channel that its one byte names.
const CLOSE: u8 = 255;

/// A connection to a streaming URL.
pub struct Connection {
    socket: Socket,
    can_close: bool,
}

/// What messages go over.
type Socket = WebSocketStream<TcpStream>;

/// Connects to the streams of a command.
pub async fn connect(url: &str) -> Result<Connection> {
    let (socket, taken) = open(url, PROTOCOLS).await?;
    Ok(Connection { socket, can_close: taken == CAN_CLOSE })
}

/// A connection, and the protocol that the server has chosen.
async fn open(url: &str, protocols: &str) -> Result<(Socket, String)> {
    if !url.starts_with("http://") {
        bail!("only http is spoken here");
    }
    let url = url.replacen("http://", "ws://", 1);
    let mut request = url.as_str().into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse()?);
    let address = request.uri().authority().context("no address in it")?.as_str().to_owned();
    let stream = TcpStream::connect(&address).await?;
    let (socket, reply) = tokio_tungstenite::client_async(request, stream).await?;
    let taken = reply.headers().get("Sec-WebSocket-Protocol");
    let taken = taken.and_then(|taken| taken.to_str().ok()).unwrap_or_default().to_owned();
    Ok((socket, taken))
}

/// Moves the streams until the command has ended: its exit code.
pub async fn converse(connection: Connection, stdin: bool, tty: bool) -> Result<u8> {
    let Connection { socket, can_close } = connection;
    let (output, mut input) = socket.split();
    let (sender, frames) = mpsc::channel(16);
    let writer = tokio::spawn(write(output, frames));
    let mut feeders = Vec::new();
    if stdin {
        feeders.push(tokio::spawn(feed(sender.clone(), can_close)));
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

async fn feed(frames: mpsc::Sender<Vec<u8>>, can_close: bool) {
    let mut stdin = tokio::io::stdin();
    loop {
        let mut frame = vec![STDIN; 8193];
        let read = stdin.read(&mut frame[1..]).await.unwrap_or(0);
        frame.truncate(1 + read);
        if read == 0 && !can_close {
            return;
        }
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
