//! Port-forward over SPDY: a pair of streams per connection, many on one session.

use rrun_error::reason;
use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf, split};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::chunks::CHUNK;
use super::spdy::{Session, Stream, StreamWriter};
use super::{Connection, Context, STREAMS_WITHIN};

/// How long the client's half may go on after the pod has ended its own, as elsewhere. The other
/// way round has no limit: an answer may take its time after the question ended.
const AFTER_POD: Duration = Duration::from_secs(1);

/// Serves a SPDY connection, or a tunnel that carries one.
pub(super) async fn serve(
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    early: &[u8],
    sandbox: &str,
    context: &Context,
) {
    let mut session = Session::start(reader, writer, early);
    let gone = session.gone();
    let mut gone = std::pin::pin!(gone);
    let mut pairs = Pairs::default();
    let mut forwards = JoinSet::new();
    loop {
        let expiry = pairs.expiry();
        tokio::select! {
            Some(stream) = session.accept() => {
                if let Some(pair) = pairs.add(stream) {
                    forwards.spawn(forward(pair, sandbox.to_owned(), context.clone()));
                }
            }
            Some(_) = forwards.join_next() => {}
            () = sleep_until(expiry), if !pairs.waiting.is_empty() => pairs.expire().await,
            () = &mut gone => return,
            () = context.shutdown.cancelled() => break,
        }
    }
    drop(forwards);
    session.close().await;
}

/// The two streams of a forwarded connection.
struct Pair {
    id: String,
    error: Stream,
    data: Stream,
}

/// A stream that waits for its partner.
struct Half {
    stream: Stream,
    is_error: bool,
    until: Instant,
}

#[derive(Default)]
struct Pairs {
    waiting: HashMap<String, Half>,
}

impl Pairs {
    /// Puts `stream` to its partner.
    fn add(&mut self, stream: Stream) -> Option<Pair> {
        let is_error = match stream.headers.get("streamtype") {
            Some("error") => true,
            Some("data") => false,
            // Of no use to anyone: dropped, its data is thrown away.
            _ => return None,
        };
        let id = pair_id(stream.id, is_error, stream.headers.get("requestid"));
        match self.waiting.remove(&id) {
            Some(half) if half.is_error != is_error => {
                let (error, data) =
                    if is_error { (stream, half.stream) } else { (half.stream, stream) };
                Some(Pair { id, error, data })
            }
            _ => {
                let until = Instant::now() + STREAMS_WITHIN;
                self.waiting.insert(id, Half { stream, is_error, until });
                None
            }
        }
    }

    fn expiry(&self) -> Instant {
        let first = self.waiting.values().map(|half| half.until).min();
        first.unwrap_or_else(|| Instant::now() + STREAMS_WITHIN)
    }

    async fn expire(&mut self) {
        let now = Instant::now();
        for (id, half) in self.waiting.extract_if(|_, half| half.until <= now) {
            if half.is_error {
                let text = format!("timed out waiting for the data stream of request {id}");
                half.stream.writer.finish(text.into_bytes()).await;
            }
            half.stream.writer.reset().await;
        }
    }
}

/// Old clients send no request id: their data stream is the one opened next.
fn pair_id(stream: u32, is_error: bool, request: Option<&str>) -> String {
    match request {
        Some(request) => request.to_owned(),
        None if is_error => stream.to_string(),
        None => stream.saturating_sub(2).to_string(),
    }
}

async fn forward(pair: Pair, sandbox: String, context: Context) {
    let Pair { id, error, data } = pair;
    let port = data.headers.get("port").and_then(|p| p.parse().ok()).filter(|p| *p > 0);
    let connected = match port {
        Some(port) => connect(&context, &sandbox, port).await,
        None => Err(format!("request {id}: no port between 1 and 65535")),
    };
    let reset = data.reset.clone();
    let ended = match connected {
        Err(e) => Err(e),
        Ok(pod) => tokio::select! {
            ended = relay(pod, data.reader, &data.writer) => ended,
            // The client wants no more, in either direction.
            () = reset.cancelled() => Ok(()),
        },
    };
    match ended {
        Ok(()) => error.writer.finish(Vec::new()).await,
        Err(text) => {
            error.writer.finish(text.into_bytes()).await;
            data.writer.reset().await;
            error.writer.reset().await;
        }
    }
}

/// Connects into the pod; the error is the text that clients expect.
pub(super) async fn connect(
    context: &Context,
    sandbox: &str,
    port: u16,
) -> Result<Box<dyn Connection>, String> {
    context
        .backend
        .port_forward(sandbox, port)
        .await
        .map_err(|e| format!("error forwarding port {port} to pod {sandbox}, uid : {e}"))
}

/// Carries bytes both ways until both ends are met. Half-closes are carried too.
async fn relay(
    pod: Box<dyn Connection>,
    client: impl AsyncRead + Unpin,
    writer: &StreamWriter,
) -> Result<(), String> {
    let (from_pod, mut to_pod) = split(pod);
    let inward = async {
        let copied = copy_buf(&mut BufReader::with_capacity(CHUNK, client), &mut to_pod).await;
        // The pod may have closed already: what is left of the client's half is of no use then.
        let _ = to_pod.shutdown().await;
        copied
    };
    let outward = async {
        let mut client = writer.bytes();
        let copied = copy_buf(&mut BufReader::with_capacity(CHUNK, from_pod), &mut client).await;
        writer.finish(Vec::new()).await;
        copied
    };
    tokio::pin!(inward, outward);
    let outward = tokio::select! {
        outward = &mut outward => {
            let _ = timeout(AFTER_POD, inward).await;
            outward
        }
        _ = &mut inward => outward.await,
    };
    match outward {
        // A reset is how some servers end a connection; all that came before it was sent.
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(e) => Err(format!("read from the pod: {}", reason(&e))),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::pair_id;

    #[test]
    fn streams_pair_by_request_or_by_neighbourhood() {
        assert_eq!(pair_id(1, true, Some("7")), pair_id(9, false, Some("7")));
        assert_eq!(pair_id(1, true, None), pair_id(3, false, None));
        assert_ne!(pair_id(1, true, None), pair_id(5, false, None));
        assert_eq!(pair_id(1, false, None), "0");
    }
}
