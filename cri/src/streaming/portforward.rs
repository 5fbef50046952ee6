//! Port-forward over SPDY: a pair of streams per connection, many on one session.

use rrun_error::reason;
use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf, split};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::chunks::CHUNK;
use super::spdy::{Session, Stream, StreamWriter};
use super::{Connection, Context};

/// How long the client's half may go on after the pod has ended its own, as elsewhere. The other
/// way round has no limit: an answer may take its time after the question ended.
const AFTER_POD: Duration = Duration::from_secs(1);

/// How long a client may take to open the second stream of a pair.
const PARTNER_WITHIN: Duration = Duration::from_secs(10);

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
                Some(Pair { id, error, data: data.used() })
            }
            _ => {
                let until = Instant::now() + PARTNER_WITHIN;
                self.waiting.insert(id, Half { stream, is_error, until });
                None
            }
        }
    }

    fn expiry(&self) -> Instant {
        let first = self.waiting.values().map(|half| half.until).min();
        first.unwrap_or_else(|| Instant::now() + PARTNER_WITHIN)
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
    use super::super::spdy::Client;
    use super::super::{READ_AHEAD, READ_AHEAD_OF_ALL, READ_EARLY};
    use super::*;
    use bytes::{BufMut, BytesMut};
    use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, duplex};

    #[test]
    fn streams_pair_by_request_or_by_neighbourhood() {
        assert_eq!(pair_id(1, true, Some("7")), pair_id(9, false, Some("7")));
        assert_eq!(pair_id(1, true, None), pair_id(3, false, None));
        assert_ne!(pair_id(1, true, None), pair_id(5, false, None));
        assert_eq!(pair_id(1, false, None), "0");
    }

    const PART: usize = 1 << 10;

    /// What is on its way or in hand while a stream has no room.
    const NEITHER: usize = 8 * PART;

    /// A client that writes frames.
    struct Frames {
        answers: ReadHalf<DuplexStream>,
        io: WriteHalf<DuplexStream>,
        zlib: Client,
        last: u32,
    }

    impl Frames {
        fn new() -> (Frames, Session) {
            let (ours, its) = duplex(PART);
            let (reader, writer) = split(its);
            let session = Session::start(reader, writer, b"");
            let (answers, io) = split(ours);
            (Frames { answers, io, zlib: Client::new(), last: 0 }, session)
        }

        async fn open(&mut self, session: &mut Session, kind: &str, request: &str) -> Stream {
            self.last += if self.last == 0 { 1 } else { 2 };
            let headers = [("streamtype", kind), ("requestid", request), ("port", "80")];
            let block = self.zlib.block(&headers);
            let mut frame = BytesMut::from(&b"\x80\x03\0\x01"[..]);
            frame.put_u32(10 + block.len() as u32);
            frame.put_u32(self.last);
            frame.put_slice(&[0; 6]);
            frame.put_slice(&block);
            self.io.write_all(&frame).await.unwrap();
            session.accept().await.unwrap()
        }

        /// How much of `most` bytes is taken of a stream that nobody reads.
        async fn taken(&mut self, id: u32, most: usize) -> usize {
            let mut frame = BytesMut::new();
            frame.put_u32(id);
            frame.put_u32(PART as u32);
            frame.put_slice(&[b'x'; PART]);
            let mut taken = 0;
            // Time stands still as long as anybody has something to do.
            let second = Duration::from_secs(1);
            while taken < most && timeout(second, self.io.write_all(&frame)).await.is_ok() {
                taken += PART;
            }
            taken
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_ahead_is_bounded_by_stream_and_by_connection() {
        // Small pieces take more room than their bytes.
        let ends_at =
            |taken: usize, limit: usize| (limit - limit / 4..limit + NEITHER).contains(&taken);
        let most = 2 * READ_AHEAD_OF_ALL;
        let (mut frames, mut session) = Frames::new();
        let alone = frames.open(&mut session, "data", "1").await;
        let taken = frames.taken(alone.id, most).await;
        assert!(ends_at(taken, READ_EARLY), "{taken} without its partner");

        let (mut frames, mut session) = Frames::new();
        let mut pairs = Pairs::default();
        assert!(pairs.add(frames.open(&mut session, "error", "1").await).is_none());
        let pair = pairs.add(frames.open(&mut session, "data", "1").await).unwrap();
        let taken = frames.taken(pair.data.id, most).await;
        assert!(ends_at(taken, READ_AHEAD), "{taken} of a pair");

        let (mut frames, mut session) = Frames::new();
        let (mut all, mut held) = (0, Vec::new());
        for request in 0..4 * READ_AHEAD_OF_ALL / READ_AHEAD {
            let request = request.to_string();
            let opening = async {
                assert!(pairs.add(frames.open(&mut session, "error", &request).await).is_none());
                pairs.add(frames.open(&mut session, "data", &request).await).unwrap()
            };
            let Ok(pair) = timeout(Duration::from_secs(1), opening).await else { break };
            all += frames.taken(pair.data.id, READ_AHEAD / 2).await;
            held.push(pair);
        }
        assert!(ends_at(all, READ_AHEAD_OF_ALL), "{all} of a connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_partner_does_not_come_is_reset_and_forgotten() {
        let (mut frames, mut session) = Frames::new();
        let (mut pairs, begin) = (Pairs::default(), Instant::now());
        let id = {
            let alone = frames.open(&mut session, "data", "1").await;
            let id = alone.id;
            assert!(pairs.add(alone).is_none());
            id
        };
        sleep_until(pairs.expiry()).await;
        pairs.expire().await;
        assert!(begin.elapsed() < 2 * PARTNER_WITHIN);
        let mut frame = [0; 8];
        loop {
            frames.answers.read_exact(&mut frame).await.unwrap();
            let mut payload = vec![0; usize::from(frame[7])];
            frames.answers.read_exact(&mut payload).await.unwrap();
            // RST_STREAM.
            if frame[3] == 3 {
                assert_eq!(payload[..4], id.to_be_bytes());
                break;
            }
        }
        let most = 2 * READ_EARLY;
        assert_eq!(frames.taken(id, most).await, most, "what is sent to it is thrown away");
    }
}
