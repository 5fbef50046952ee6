//! A byte pipe from a connection to a container, bounded by bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What a piece takes of the room at least: so much is kept beside its bytes.
const LEAST: usize = 128;

/// What all pipes of a connection may hold together.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    /// Room for `bytes`.
    pub(super) fn new(bytes: usize) -> Room {
        Room(Arc::new(Semaphore::new(bytes)))
    }

    /// A pipe that holds up to `limit` bytes, as long as the others leave room.
    pub(super) fn pipe(&self, limit: usize) -> (PipeSender, PipeReader) {
        let (queue, chunks) = mpsc::unbounded_channel();
        let own = Arc::new(Semaphore::new(limit));
        let reader = PipeReader { chunks, own: Arc::clone(&own), current: None, ended: false };
        (PipeSender { queue, own, limit, all: Arc::clone(&self.0) }, reader)
    }
}

/// The room that bytes take, given back when they were read: of their pipe, and of all.
type Taken = [OwnedSemaphorePermit; 2];

enum Item {
    Data(Bytes, Taken),
    End,
}

/// Dropped without [`PipeSender::end`], it makes the reader fail: a lost client is no end of file.
pub(super) struct PipeSender {
    queue: mpsc::UnboundedSender<Item>,
    own: Arc<Semaphore>,
    /// What the pipe holds before it is widened.
    limit: usize,
    all: Arc<Semaphore>,
}

impl PipeSender {
    /// Waits for room. What nobody will read any more is thrown away.
    pub(super) async fn send(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(self.limit));
            let taken = tokio::select! {
                taken = self.take(part.len().max(LEAST).min(self.limit)) => taken,
                () = self.queue.closed() => return,
            };
            let Some(taken) = taken else { return };
            // A copy: a small part would keep all that was received with it.
            let _ = self.queue.send(Item::Data(Bytes::copy_from_slice(&part), taken));
        }
    }

    async fn take(&self, bytes: usize) -> Option<Taken> {
        let bytes = u32::try_from(bytes).ok()?;
        let own = Arc::clone(&self.own).acquire_many_owned(bytes).await.ok()?;
        let all = Arc::clone(&self.all).acquire_many_owned(bytes).await.ok()?;
        Some([own, all])
    }

    /// An end of file.
    pub(super) fn end(self) {
        let _ = self.queue.send(Item::End);
    }
}

pub(super) struct PipeReader {
    chunks: mpsc::UnboundedReceiver<Item>,
    own: Arc<Semaphore>,
    current: Option<(Bytes, Taken)>,
    ended: bool,
}

impl PipeReader {
    /// Lets the pipe hold so many bytes more.
    pub(super) fn widen(&self, bytes: usize) {
        self.own.add_permits(bytes);
    }
}

impl AsyncRead for PipeReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended || out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.current.is_none() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(Item::Data(bytes, taken)) => self.current = Some((bytes, taken)),
                Some(Item::End) => {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        if let Some((bytes, _)) = &mut self.current {
            let n = bytes.len().min(out.remaining());
            out.put_slice(&bytes[..n]);
            bytes.advance(n);
            if bytes.is_empty() {
                self.current = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_full_pipe_waits_until_its_reader_made_room() {
        let (sender, mut reader) = Room::new(100).pipe(4);
        sender.send(Bytes::from_static(b"abcd")).await;
        let mut blocked = Box::pin(sender.send(Bytes::from_static(b"e")));
        assert!(blocked.as_mut().now_or_never().is_none());
        let mut buf = [0; 4];
        reader.read_exact(&mut buf).await.unwrap();
        blocked.await;
        assert_eq!(reader.read_u8().await.unwrap(), b'e');
    }

    #[tokio::test]
    async fn a_sender_is_freed_when_its_reader_goes() {
        let (sender, reader) = Room::new(100).pipe(1);
        sender.send(Bytes::from_static(b"a")).await;
        let mut blocked = Box::pin(sender.send(Bytes::from_static(b"bcdef")));
        assert!(blocked.as_mut().now_or_never().is_none());
        drop(reader);
        blocked.await;
    }

    #[tokio::test]
    async fn an_end_is_an_end_of_file_and_a_loss_is_an_error() {
        let (sender, mut reader) = Room::new(100).pipe(8);
        sender.send(Bytes::from_static(b"ab")).await;
        sender.end();
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ab");

        let (sender, mut reader) = Room::new(100).pipe(8);
        drop(sender);
        let error = reader.read_to_string(&mut text).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn pipes_of_a_connection_hold_no_more_than_it_has_room_for() {
        let room = Room::new(3 * LEAST);
        let ((first, held), (second, mut reader)) = (room.pipe(2 * LEAST), room.pipe(2 * LEAST));
        let byte = || Bytes::from_static(b"a");
        for sender in [&first, &first, &second] {
            sender.send(byte()).await;
        }
        let mut blocked = Box::pin(second.send(byte()));
        assert!(blocked.as_mut().now_or_never().is_none());
        // What is never read is given back with its reader.
        drop(held);
        blocked.await;
        assert_eq!(reader.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn a_pipe_holds_more_when_it_was_widened() {
        let (sender, reader) = Room::new(100).pipe(1);
        sender.send(Bytes::from_static(b"a")).await;
        let mut blocked = Box::pin(sender.send(Bytes::from_static(b"bc")));
        assert!(blocked.as_mut().now_or_never().is_none());
        reader.widen(2);
        blocked.await;
    }
}
