//! A SPDY connection: one task that reads, one that writes.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::chunks::{CHUNK, ChunkWriter};
use super::super::idle::Idle;
use super::super::pipe::{PipeReader, PipeSender, Room};
use super::super::{IDLE, LINGER, QUEUE, READ_AHEAD, READ_AHEAD_OF_ALL, READ_EARLY};
use super::frame::{self, Decoder, Received, Reset};
use super::headers::{Deflater, Headers, Inflater};

/// Most streams that are open at once on a connection: 1024 forwarded connections and some.
const MOST_STREAMS: usize = 2500;
/// Streams that were opened and not yet taken.
const BACKLOG: usize = 16;
/// Pings and replies that wait to be written.
const URGENT: usize = 64;

/// What the write task is asked for.
enum Out {
    Reply(u32),
    Ping(u32),
    Data {
        id: u32,
        bytes: Bytes,
        fin: bool,
    },
    Reset(u32, Reset),
    /// GOAWAY, then an end of file.
    Close,
}

/// A stream that the client opened.
pub(in super::super) struct Stream {
    pub(in super::super) id: u32,
    pub(in super::super) headers: Headers,
    pub(in super::super) reader: PipeReader,
    pub(in super::super) writer: StreamWriter,
    /// Cancelled when the client resets the stream, be it after an end of file.
    pub(in super::super) reset: CancellationToken,
}

impl Stream {
    /// The stream is used from now on: its client may send more ahead.
    pub(in super::super) fn used(self) -> Stream {
        self.reader.widen(READ_AHEAD - READ_EARLY);
        self
    }
}

/// Our half of a stream.
#[derive(Clone)]
pub(in super::super) struct StreamWriter {
    id: u32,
    out: mpsc::Sender<Out>,
    /// The read task forgets the stream when this has gone.
    _held: Arc<()>,
}

impl StreamWriter {
    /// Sends `bytes` and an end of file. All of these wait for the client to read, and do nothing
    /// after it has gone.
    pub(in super::super) async fn finish(&self, bytes: Vec<u8>) {
        let _ = self.out.send(Out::Data { id: self.id, bytes: bytes.into(), fin: true }).await;
    }

    /// Ends both directions.
    pub(in super::super) async fn reset(&self) {
        let _ = self.out.send(Out::Reset(self.id, Reset::Cancel)).await;
    }

    /// The stream as an async writer. Its shutdown sends nothing: `finish` does.
    pub(in super::super) fn bytes(&self) -> impl AsyncWrite + Send + Unpin + use<> {
        let id = self.id;
        ChunkWriter::new(self.out.clone(), move |bytes: &[u8]| Out::Data {
            id,
            bytes: Bytes::copy_from_slice(bytes),
            fin: false,
        })
    }
}

/// A connection. Dropped, it is cut.
pub(in super::super) struct Session {
    streams: mpsc::Receiver<Stream>,
    out: mpsc::Sender<Out>,
    gone: CancellationToken,
    reading: AbortOnDropHandle<()>,
    writing: AbortOnDropHandle<()>,
}

impl Session {
    /// Serves a connection that was upgraded; `early` is what was read beyond the upgrade.
    pub(in super::super) fn start(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        early: &[u8],
    ) -> Session {
        let gone = CancellationToken::new();
        let idle = Idle::new();
        let (urgent, urgent_out) = mpsc::channel(URGENT);
        let (out, ordered_out) = mpsc::channel(QUEUE);
        let (opened, streams) = mpsc::channel(BACKLOG);
        let mut write = WriteHalf {
            io: writer,
            buf: BytesMut::new(),
            zlib: Deflater::new(),
            idle: idle.clone(),
            last: 0,
        };
        let mut read = ReadHalf {
            streams: HashMap::new(),
            last: 0,
            zlib: Inflater::new(),
            idle: idle.clone(),
            room: Room::new(READ_AHEAD_OF_ALL),
            opened,
            urgent,
            out: out.clone(),
        };
        let early = BytesMut::from(early);
        let (read_gone, write_gone) = (gone.clone(), gone.clone());
        let reading = tokio::spawn(async move {
            let expired = idle.clone();
            tokio::select! {
                ended = read.run(reader, early) => {
                    if let Err(e) = ended {
                        tracing::debug!("SPDY connection: {e}");
                    }
                }
                () = expired.expired(IDLE) => {}
            }
            read_gone.cancel();
        });
        let writing = tokio::spawn(async move {
            // A writer that cannot write ends the session; one that was closed leaves the reader.
            // One whose client has gone must not keep those waiting who have more to write.
            tokio::select! {
                wrote = write.run(urgent_out, ordered_out) => {
                    if wrote.is_err() {
                        write_gone.cancel();
                    }
                }
                () = write_gone.cancelled() => {}
            }
        });
        let (reading, writing) = (AbortOnDropHandle::new(reading), AbortOnDropHandle::new(writing));
        Session { streams, out, gone, reading, writing }
    }

    /// The next stream that the client opens; `None` when it has gone.
    pub(in super::super) async fn accept(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }

    /// Streams that come from now on are refused.
    pub(in super::super) fn refuse_more(&mut self) {
        self.streams.close();
    }

    /// Resolves when the client has gone.
    pub(in super::super) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        self.gone.clone().cancelled_owned()
    }

    /// Sends what is queued, then GOAWAY and an end of file, and reads on until the client closes:
    /// to close a socket with unread input makes the kernel send a reset, which takes output from
    /// the client that it has not read yet.
    pub(in super::super) async fn close(self) {
        let _ = self.out.send(Out::Close).await;
        drop(self.streams);
        tokio::select! {
            _ = self.writing => {}
            () = self.gone.cancelled() => return,
        }
        let _ = timeout(LINGER, self.reading).await;
    }
}

/// What the read task knows of a stream.
struct Entry {
    /// `None` after the client's end of file.
    sender: Option<PipeSender>,
    reset: CancellationToken,
    held: Weak<()>,
}

struct ReadHalf {
    streams: HashMap<u32, Entry>,
    /// Highest stream id so far.
    last: u32,
    zlib: Inflater,
    idle: Idle,
    room: Room,
    opened: mpsc::Sender<Stream>,
    /// Answers that go before queued data, and whose writer is never waited for by pings.
    urgent: mpsc::Sender<Out>,
    out: mpsc::Sender<Out>,
}

impl ReadHalf {
    async fn run(&mut self, mut io: impl AsyncRead + Unpin, mut input: BytesMut) -> io::Result<()> {
        let mut decoder = Decoder::default();
        loop {
            while let Some(frame) = decoder.decode(&mut input).map_err(invalid)? {
                self.handle(frame).await?;
            }
            input.reserve(2 * CHUNK);
            if io.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn handle(&mut self, frame: Received) -> io::Result<()> {
        match frame {
            Received::SynStream { id, fin, block } => {
                let headers = self.zlib.read(&block).map_err(invalid)?;
                self.idle.touch();
                self.open(id, fin, headers).await;
            }
            Received::Headers { block } => {
                self.zlib.read(&block).map_err(invalid)?;
            }
            Received::Data { id, fin, bytes } => {
                self.idle.touch();
                self.data(id, bytes, fin).await;
            }
            Received::Reset { id } => {
                if let Some(entry) = self.streams.remove(&id) {
                    entry.reset.cancel();
                }
            }
            // Ours are even. One that finds the queue full is lost: the next comes in seconds.
            Received::Ping { id } if id % 2 == 1 => {
                let _ = self.urgent.try_send(Out::Ping(id));
            }
            Received::Ping { .. } | Received::GoAway | Received::Ignored => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) {
        if id.is_multiple_of(2) || id <= self.last {
            let _ = self.urgent.send(Out::Reset(id, Reset::Protocol)).await;
            return;
        }
        self.last = id;
        self.streams.retain(|_, entry| entry.held.strong_count() > 0);
        if self.streams.len() >= MOST_STREAMS {
            let _ = self.urgent.send(Out::Reset(id, Reset::Refused)).await;
            return;
        }
        let (sender, reader) = self.room.pipe(READ_EARLY);
        let (held, reset) = (Arc::new(()), CancellationToken::new());
        let weak = Arc::downgrade(&held);
        self.streams.insert(id, Entry { sender: Some(sender), reset: reset.clone(), held: weak });
        let writer = StreamWriter { id, out: self.out.clone(), _held: held };
        let stream = Stream { id, headers, reader, writer, reset };
        // The reply goes first: clients drop data of a stream that has none.
        let _ = self.urgent.send(Out::Reply(id)).await;
        if self.opened.send(stream).await.is_err() {
            let _ = self.urgent.send(Out::Reset(id, Reset::Refused)).await;
        } else if fin {
            self.data(id, Bytes::new(), true).await;
        }
    }

    /// Data of an unknown stream is thrown away: its reset by us may be under way.
    async fn data(&mut self, id: u32, bytes: Bytes, fin: bool) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if let Some(sender) = &entry.sender {
            sender.send(bytes).await;
        }
        if fin && let Some(sender) = entry.sender.take() {
            sender.end();
        }
    }
}

fn invalid(e: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e.to_string())
}

struct WriteHalf<W> {
    io: W,
    buf: BytesMut,
    zlib: Deflater,
    idle: Idle,
    /// Highest stream id that was replied to.
    last: u32,
}

impl<W: AsyncWrite + Unpin> WriteHalf<W> {
    async fn run(
        &mut self,
        mut urgent: mpsc::Receiver<Out>,
        mut ordered: mpsc::Receiver<Out>,
    ) -> io::Result<()> {
        let mut open = true;
        while open {
            let first = tokio::select! {
                biased;
                Some(out) = urgent.recv() => out,
                Some(out) = ordered.recv() => out,
                else => return Ok(()),
            };
            open = self.encode(first);
            while open && self.buf.len() < 2 * CHUNK {
                let Ok(next) = urgent.try_recv().or_else(|_| ordered.try_recv()) else { break };
                open = self.encode(next);
            }
            self.io.write_all(&self.buf).await?;
            self.io.flush().await?;
            self.buf.clear();
        }
        self.io.shutdown().await
    }

    /// False after the last frame.
    fn encode(&mut self, out: Out) -> bool {
        let buf = &mut self.buf;
        match out {
            Out::Reply(id) => {
                self.last = self.last.max(id);
                frame::syn_reply(buf, id, &self.zlib.empty());
            }
            Out::Ping(id) => frame::ping(buf, id),
            Out::Data { id, bytes, fin } => {
                self.idle.touch();
                frame::data(buf, id, &bytes, fin);
            }
            Out::Reset(id, status) => frame::reset(buf, id, status),
            Out::Close => {
                frame::go_away(buf, self.last);
                return false;
            }
        }
        true
    }
}
