//! How others reach the process that runs a pod: two sockets for root alone.
//!
//! `<uid>.cri` serves the CRI with this pod in it. `<uid>.stop` takes one line, `stop SECONDS`,
//! `stop -` (the pod's own grace) or `remove`, and answers one line when that is done.

use crate::shelf::Entry;
use anyhow::{Context, Result, anyhow, bail};
use rrun_cri::config::Config;
use rrun_cri::service::Service;
use rrun_cri_api::server;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The longest line either way, in bytes.
const LINE: u64 = 4096;

/// What another process wants of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To end, after this grace in seconds or its own.
    Stop(Option<u32>),
    /// To end at once and be removed.
    Remove,
}

impl Order {
    fn line(self) -> String {
        match self {
            Order::Stop(Some(seconds)) => format!("stop {seconds}\n"),
            Order::Stop(None) => "stop -\n".to_owned(),
            Order::Remove => "remove\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Order> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["remove"] => Some(Order::Remove),
            ["stop", "-"] => Some(Order::Stop(None)),
            ["stop", seconds] => Some(Order::Stop(Some(seconds.parse().ok()?))),
            _ => None,
        }
    }
}

/// An order, and where its answer goes.
pub type Asked = (Order, oneshot::Sender<String>);

/// The open sockets; dropped, they are closed and removed.
pub struct Sockets {
    paths: [PathBuf; 2],
    tasks: [JoinHandle<()>; 2],
}

/// Listens for others. Orders arrive at the receiver.
pub fn serve(
    config: &Config,
    entry: &Entry,
    cri: Arc<Service>,
) -> Result<(Sockets, mpsc::Receiver<Asked>)> {
    let paths = [entry.socket(config, "cri"), entry.socket(config, "stop")];
    let (calls, orders) = (listen(&paths[0])?, listen(&paths[1])?);
    let routes = server::Service::new(cri).routes();
    let calls = tokio::spawn(async move {
        let _ = server::serve(calls, routes, std::future::pending()).await;
    });
    let (sender, receiver) = mpsc::channel(8);
    let orders = tokio::spawn(async move {
        while let Ok((stream, _)) = orders.accept().await {
            tokio::spawn(answer(stream, sender.clone()));
        }
    });
    Ok((Sockets { paths, tasks: [calls, orders] }, receiver))
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

/// The shelf's lock says that nobody is behind a socket that is there; its folder is root's alone.
fn listen(path: &Path) -> Result<UnixListener> {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))
}

async fn answer(stream: UnixStream, orders: mpsc::Sender<Asked>) {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    if BufReader::new(input.take(LINE)).read_line(&mut line).await.is_err() {
        return;
    }
    let text = match Order::parse(line.trim_end()) {
        None => format!("error: unknown order {line:?}"),
        Some(order) => {
            let (sender, answer) = oneshot::channel();
            let _ = orders.send((order, sender)).await;
            answer.await.unwrap_or_else(|_| "error: the process ended".to_owned())
        }
    };
    let _ = output.write_all(format!("{text}\n").as_bytes()).await;
}

/// Gives an order to the process that runs the pod and waits until it is done.
pub async fn ask(config: &Config, entry: &Entry, order: Order) -> Result<()> {
    let path = entry.socket(config, "stop");
    let asked = async {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(order.line().as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE)).read_line(&mut line).await?;
        std::io::Result::Ok(line)
    };
    let line = asked.await.with_context(|| format!("ask {}", path.display()))?;
    match line.trim_end() {
        "done" => Ok(()),
        "" => bail!("ask {}: the process that runs the pod ended", path.display()),
        other => Err(anyhow!("{}", other.trim_start_matches("error: "))),
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn an_order_is_read_back_and_another_line_is_none() {
        for order in [Order::Stop(None), Order::Stop(Some(3)), Order::Remove] {
            assert_eq!(Order::parse(order.line().trim_end()), Some(order));
        }
        for line in ["", "stop", "stop x", "stop -1", "remove now"] {
            assert_eq!(Order::parse(line), None, "{line}");
        }
    }
}
