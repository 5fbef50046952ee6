//! One connection to a plugin: calls in both directions.

use crate::error::{Error, Kind, Result};
use crate::mux::{self, TO_PLUGIN, TO_RUNTIME};
use crate::ttrpc::{self, Incoming, Message, Request, Response, Status};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

/// How long after its time an answer is still taken: one that was given in time comes a little later.
const GRACE: Duration = Duration::from_millis(500);

/// How many messages wait to be written at most, and how many requests of a plugin to be answered.
const WAITING: usize = 64;

/// Calls that no plugin of this process has answered in time.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// How many calls plugins have not answered in time since the program began.
pub fn unanswered() -> u64 {
    UNANSWERED.load(Ordering::Relaxed)
}

/// A request of the plugin, and the way for its answer.
pub(crate) type Asked = (Request, oneshot::Sender<Result<Vec<u8>, Status>>);

/// A connection. Clones are the same one; it ends by [`Connection::close`], or from the other side.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    write: mpsc::Sender<Vec<u8>>,
    calls: Mutex<Calls>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Calls {
    last: u32,
    waiting: BTreeMap<u32, oneshot::Sender<Response>>,
}

impl Connection {
    /// Speaks over `stream`; what the plugin asks comes out of the receiver.
    pub(crate) fn new(stream: UnixStream) -> (Connection, mpsc::Receiver<Asked>) {
        let (reader, writer) = tokio::io::split(stream);
        let (write, to_write) = mpsc::channel(WAITING);
        let (asks, asked) = mpsc::channel(WAITING);
        let closed = watch::Sender::new(false);
        let shared = Arc::new(Shared { write, calls: Mutex::default(), closed });
        tokio::spawn(until_closed(Arc::clone(&shared), write_all(writer, to_write)));
        let reading = Arc::clone(&shared);
        tokio::spawn(until_closed(Arc::clone(&shared), async move {
            read_all(reader, &reading, asks).await
        }));
        (Connection { shared }, asked)
    }

    /// Ends it, whatever is under way.
    pub(crate) fn close(&self) {
        close(&self.shared);
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    /// Lasts until it has ended.
    pub(crate) async fn closed(&self) {
        // The sender lives as long as self.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Calls the plugin. An answer that is not OK is a `Status`.
    ///
    /// # Errors
    /// `Closed` when it has ended, or has not answered in time.
    pub(crate) async fn call(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Result<Vec<u8>, Status>> {
        let gone = || Error::new(Kind::Closed, "its connection has ended");
        let (sender, answer) = oneshot::channel();
        let call = {
            let mut calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
            // Those of a client are odd.
            calls.last = calls.last.wrapping_add(if calls.last == 0 { 1 } else { 2 });
            let last = calls.last;
            calls.waiting.insert(last, sender);
            last
        };
        let message = ttrpc::request(call, (service, method), payload, limit);
        let too_long = message.len() - ttrpc::HEADER > ttrpc::LONGEST;
        let answered = async {
            if too_long {
                let message = "the message is longer than ttrpc takes".to_owned();
                return Ok(Err(Status { code: ttrpc::RESOURCE_EXHAUSTED, message }));
            }
            let frames = mux::frames(TO_PLUGIN, &message);
            self.shared.write.send(frames).await.map_err(|_| gone())?;
            let response = answer.await.map_err(|_| gone())?;
            Ok(match response.status.filter(|status| status.code != 0) {
                Some(status) => Err(status),
                None => Ok(response.payload),
            })
        };
        let answered = tokio::select! {
            answered = timeout(limit + GRACE, answered) => answered,
            () = self.closed() => return Err(gone()),
        };
        let mut calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.waiting.remove(&call);
        answered.unwrap_or_else(|_| {
            UNANSWERED.fetch_add(1, Ordering::Relaxed);
            Err(Error::new(Kind::Closed, format!("no answer in {limit:?}")))
        })
    }
}

fn close(shared: &Shared) {
    shared.closed.send_replace(true);
    shared.calls.lock().unwrap_or_else(PoisonError::into_inner).waiting.clear();
}

async fn until_closed(shared: Arc<Shared>, work: impl Future<Output = Result<()>>) {
    let mut closed = shared.closed.subscribe();
    tokio::select! {
        done = work => {
            if let Err(error) = done {
                tracing::warn!(%error, "NRI: a plugin's connection is closed");
            }
        }
        _ = closed.wait_for(|closed| *closed) => {}
    }
    close(&shared);
}

async fn write_all(
    mut writer: WriteHalf<UnixStream>,
    mut to_write: mpsc::Receiver<Vec<u8>>,
) -> Result<()> {
    while let Some(frames) = to_write.recv().await {
        // The reader hears of the end as well.
        if writer.write_all(&frames).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn read_all(
    mut reader: ReadHalf<UnixStream>,
    shared: &Arc<Shared>,
    asks: mpsc::Sender<Asked>,
) -> Result<()> {
    let (mut answers, mut requests) = (Incoming::default(), Incoming::default());
    let places = Arc::new(Semaphore::new(WAITING));
    let broken = |error: std::io::Error| Error::new(Kind::Closed, error.to_string());
    while let Some((stream, bytes)) = mux::read(&mut reader).await.map_err(broken)? {
        let messages = match stream {
            TO_PLUGIN => answers.take(&bytes)?,
            TO_RUNTIME => requests.take(&bytes)?,
            // Of a later version.
            _ => continue,
        };
        for message in messages {
            let Some((call, request)) = shared.heard(message) else { continue };
            // A plugin that asks and does not read is not heard any more, and is closed for that.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let (sender, answer) = oneshot::channel();
            if asks.send((request, sender)).await.is_err() {
                return Ok(());
            }
            tokio::spawn(respond(call, answer, shared.write.clone(), place));
        }
    }
    Ok(())
}

impl Shared {
    /// Passes an answer on to who waits for it; gives a request back.
    fn heard(&self, message: Message) -> Option<(u32, Request)> {
        match message {
            Message::Request(call, request) => Some((call, request)),
            Message::Response(call, response) => {
                let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
                // One that comes too late is nobody's.
                let sender = calls.waiting.remove(&call)?;
                let _ = sender.send(response);
                None
            }
        }
    }
}

async fn respond(
    call: u32,
    answer: oneshot::Receiver<Result<Vec<u8>, Status>>,
    write: mpsc::Sender<Vec<u8>>,
    _place: OwnedSemaphorePermit,
) {
    let response = match answer.await {
        Ok(Ok(payload)) => Response { status: Some(Status::default()), payload },
        Ok(Err(status)) => Response { status: Some(status), payload: Vec::new() },
        Err(_) => {
            let message = "it is not answered".to_owned();
            let status = Status { code: ttrpc::INTERNAL, message };
            Response { status: Some(status), payload: Vec::new() }
        }
    };
    let _ = write.send(mux::frames(TO_RUNTIME, &ttrpc::response(call, &response))).await;
}
