//! How others reach the process that runs a pod: two sockets for root alone.
//!
//! `<uid>.cri` serves the runtime with this pod in it, if that runtime is in the process.
//! `<uid>.stop` takes one line, `stop SECONDS`, `stop -` (the pod's own grace) or `remove`, and
//! answers one line when that is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rrun_cri_api::server;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::store::{LockedPod, Store};
use crate::error::{Context, Error, Kind, Result};
use crate::ids::PodUid;

/// How long after the end of a pod whoever asked for it waits for what is still to be done.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The longest line either way, in bytes.
const LINE: u64 = 4096;

/// What another process wants of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To end, after this grace in seconds or its own.
    Stop(Option<u32>),
    /// To end at once and be removed.
    Remove,
}

impl Request {
    fn line(self) -> String {
        match self {
            Request::Stop(Some(seconds)) => format!("stop {seconds}\n"),
            Request::Stop(None) => "stop -\n".to_owned(),
            Request::Remove => "remove\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Request> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["remove"] => Some(Request::Remove),
            ["stop", "-"] => Some(Request::Stop(None)),
            ["stop", seconds] => Some(Request::Stop(Some(seconds.parse().ok()?))),
            _ => None,
        }
    }
}

/// A request, and where its answer goes: `Ok` when it is done.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub request: Request,
    answer: oneshot::Sender<String>,
    written: oneshot::Receiver<()>,
}

impl Asked {
    /// Answers, and waits until the answer is written or the other side is gone.
    pub async fn answer(self, done: &Result<()>) {
        let text = done.as_ref().map_or_else(|e| format!("error: {e}"), |()| "done".to_owned());
        let _ = self.answer.send(text);
        let _ = self.written.await;
    }
}

/// Answers those that asked with what becomes of `work`. If that takes long, they are told so, and it
/// goes on.
///
/// # Errors
/// Those of `work`.
pub async fn answer_with(asked: Vec<Asked>, work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(work);
    let done = tokio::time::timeout(PATIENCE, &mut work).await.ok();
    let answer = done.clone().unwrap_or_else(|| Err(late()));
    for one in asked {
        one.answer(&answer).await;
    }
    match done {
        Some(done) => done,
        None => work.await,
    }
}

/// What is said when a disk may hang.
pub(super) fn late() -> Error {
    let text = format!(
        "it has ended, and {} s later its records, volumes or logs are not written or removed;          that goes on",
        PATIENCE.as_secs()
    );
    Error::new(Kind::Timeout, text)
}

/// The open sockets; dropped, they are closed and removed.
#[derive(Debug)]
pub struct Sockets {
    paths: Vec<PathBuf>,
    tasks: Vec<JoinHandle<()>>,
}

/// Listens for others. Their requests arrive at the receiver.
///
/// # Errors
/// Those of the sockets.
pub fn listen(
    store: &Store,
    pod: &LockedPod,
    cri: Option<Routes>,
) -> Result<(Sockets, mpsc::Receiver<Asked>)> {
    pod.announce()?;
    let mut sockets = Sockets { paths: Vec::new(), tasks: Vec::new() };
    if let Some(routes) = cri {
        let calls = sockets.bind(store.socket(&pod.entry.uid, "cri"))?;
        sockets.tasks.push(tokio::spawn(async move {
            let served = server::serve(calls, routes, std::future::pending()).await;
            if let Err(e) = served {
                tracing::error!("serve the runtime to other processes: {e}");
            }
        }));
    }
    let requests = sockets.bind(store.socket(&pod.entry.uid, "stop"))?;
    let (sender, receiver) = mpsc::channel(8);
    sockets.tasks.push(tokio::spawn(async move {
        loop {
            match requests.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, sender.clone()))),
                // Want of descriptors passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }));
    Ok((sockets, receiver))
}

impl Sockets {
    /// The pod's lock says that nobody is behind a socket that is there; its folder is root's.
    fn bind(&mut self, path: PathBuf) -> Result<UnixListener> {
        let _ = fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).context(|| format!("listen on {}", path.display()));
        self.paths.push(path);
        listener
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

async fn converse(stream: UnixStream, requests: mpsc::Sender<Asked>) {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    if BufReader::new(input.take(LINE)).read_line(&mut line).await.is_err() {
        return;
    }
    let (_written, written) = oneshot::channel();
    let text = match Request::parse(line.trim_end()) {
        None => format!("error: unknown request {line:?}"),
        Some(request) => {
            let (answer, answered) = oneshot::channel();
            let _ = requests.send(Asked { request, answer, written }).await;
            answered.await.unwrap_or_else(|_| "error: the process ended".to_owned())
        }
    };
    let _ = output.write_all(format!("{text}\n").as_bytes()).await;
}

/// Asks the process that runs the pod for something and waits until it is done.
///
/// # Errors
/// Its answer, or that it does not answer.
pub async fn ask(store: &Store, uid: &PodUid, request: Request) -> Result<()> {
    let path = store.socket(uid, "stop");
    let line = exchange(&path, request).await.context(|| format!("ask {}", path.display()))?;
    match line.trim_end() {
        "done" => Ok(()),
        "" => Err(Error::new(Kind::Unavailable, "the process that runs the pod ended")),
        other => Err(Error::new(Kind::Unavailable, other.trim_start_matches("error: "))),
    }
}

async fn exchange(path: &Path, request: Request) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(request.line().as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut line).await?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn a_request_is_read_back_and_another_line_is_none() {
        for request in [Request::Stop(None), Request::Stop(Some(3)), Request::Remove] {
            assert_eq!(Request::parse(request.line().trim_end()), Some(request));
        }
        for line in ["", "stop", "stop x", "stop -1", "remove now"] {
            assert_eq!(Request::parse(line), None, "{line}");
        }
    }
}
