//! A runtime without containers: commands are a few lines of Rust, ports are those of this host.

use std::sync::Arc;

use async_trait::async_trait;
use rrun_cri::streaming::{Backend, Connection, Stdio};
use rrun_cri_api::v1::{AttachRequest, ExecRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

/// What happened inside.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Started,
    /// The command was dropped before its end.
    Dropped,
}

pub struct Commands {
    pub release: Arc<Notify>,
    events: mpsc::UnboundedSender<Event>,
}

impl Commands {
    pub fn new() -> (Commands, mpsc::UnboundedReceiver<Event>) {
        let (events, seen) = mpsc::unbounded_channel();
        (Commands { release: Arc::default(), events }, seen)
    }
}

/// Tells of a command that did not come to its end.
struct Running<'a>(Option<&'a mpsc::UnboundedSender<Event>>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(events) = self.0 {
            let _ = events.send(Event::Dropped);
        }
    }
}

#[async_trait]
impl Backend for Commands {
    async fn exec(&self, r: ExecRequest, mut io: Stdio) -> Result<i32, String> {
        let cmd: Vec<&str> = r.cmd.iter().map(String::as_str).collect();
        match cmd.as_slice() {
            ["cat"] => cat(io).await,
            ["request"] => print_request(&mut io, &r).await,
            ["say", out, err, code] => {
                if let Some(stdout) = &mut io.stdout {
                    stdout.write_all(out.as_bytes()).await.map_err(text)?;
                }
                if let Some(stderr) = &mut io.stderr {
                    stderr.write_all(err.as_bytes()).await.map_err(text)?;
                }
                code.parse().map_err(|e| format!("{e}"))
            }
            ["flood", bytes] => flood(io, bytes.parse().map_err(|e| format!("{e}"))?).await,
            ["size", width] => size(io, width.parse().map_err(|e| format!("{e}"))?).await,
            ["deaf"] => {
                let _ = self.events.send(Event::Started);
                self.release.notified().await;
                say(&mut io, "heard nothing").await
            }
            ["sleep"] => {
                let mut running = Running(Some(&self.events));
                let _ = self.events.send(Event::Started);
                self.release.notified().await;
                running.0 = None;
                Ok(0)
            }
            other => Err(format!("no such command: {other:?}")),
        }
    }

    async fn attach(&self, r: AttachRequest, mut io: Stdio) -> Result<(), String> {
        match r.container_id.as_str() {
            "request" => print_request(&mut io, &r).await.map(drop),
            _ => cat(io).await.map(drop),
        }
    }

    async fn port_forward(&self, pod: &str, port: u16) -> Result<Box<dyn Connection>, String> {
        if pod == "request" {
            return Err(format!("asked for {pod} and {port}"));
        }
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => Err(format!("failed to connect to localhost:{port} inside: {e}")),
        }
    }
}

/// Tells the request, and which streams came with it.
async fn print_request(io: &mut Stdio, request: &impl std::fmt::Debug) -> Result<i32, String> {
    let streams = [io.stdin.is_some(), io.stdout.is_some(), io.stderr.is_some()];
    say(io, &format!("{request:?} {streams:?}")).await
}

async fn cat(io: Stdio) -> Result<i32, String> {
    let (Some(stdin), Some(mut stdout)) = (io.stdin, io.stdout) else {
        return Err("cat wants stdin and stdout".into());
    };
    copy_buf(&mut BufReader::with_capacity(32 << 10, stdin), &mut stdout).await.map_err(text)?;
    Ok(0)
}

async fn flood(mut io: Stdio, mut left: usize) -> Result<i32, String> {
    let block = [b'x'; 32 << 10];
    let stdout = io.stdout.as_mut().ok_or("flood wants stdout")?;
    while left > 0 {
        let n = left.min(block.len());
        stdout.write_all(&block[..n]).await.map_err(text)?;
        left -= n;
    }
    Ok(0)
}

/// Waits until the terminal is so wide, and says how high it is; reads its stdin in between, as
/// shells do.
async fn size(mut io: Stdio, width: u16) -> Result<i32, String> {
    let size = io.size.wait_for(|s| s.is_some_and(|s| s.width == width)).await;
    let height = size.map_err(|e| e.to_string())?.map_or(0, |s| s.height);
    if let Some(mut stdin) = io.stdin.take() {
        let mut all = String::new();
        stdin.read_to_string(&mut all).await.map_err(text)?;
    }
    say(&mut io, &format!("{width}x{height}")).await
}

async fn say(io: &mut Stdio, words: &str) -> Result<i32, String> {
    let stdout = io.stdout.as_mut().ok_or("no stdout")?;
    stdout.write_all(words.as_bytes()).await.map_err(text)?;
    Ok(0)
}

fn text(e: std::io::Error) -> String {
    e.to_string()
}
