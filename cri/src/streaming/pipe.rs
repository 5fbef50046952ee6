//! A byte pipe from a connection to a container, bounded by bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// A pipe that holds up to `limit` bytes.
pub(super) fn pipe(limit: u32) -> (PipeSender, PipeReader) {
    let (queue, chunks) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(limit as usize));
    (PipeSender { queue, room, limit }, PipeReader { chunks, current: None, ended: false })
}

enum Item {
    /// The permit is the room that the bytes take, given back when they were read.
    Data(Bytes, OwnedSemaphorePermit),
    End,
}

/// Dropped without [`PipeSender::end`], it makes the reader fail: a lost client is no end of file.
pub(super) struct PipeSender {
    queue: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
    limit: u32,
}

impl PipeSender {
    /// Waits for room. What nobody will read any more is thrown away.
    pub(super) async fn send(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(self.limit as usize));
            let room = Arc::clone(&self.room).acquire_many_owned(part.len() as u32);
            let permit = tokio::select! {
                permit = room => permit,
                () = self.queue.closed() => return,
            };
            let Ok(permit) = permit else { return };
            let _ = self.queue.send(Item::Data(part, permit));
        }
    }

    /// An end of file.
    pub(super) fn end(self) {
        let _ = self.queue.send(Item::End);
    }
}

pub(super) struct PipeReader {
    chunks: mpsc::UnboundedReceiver<Item>,
    current: Option<(Bytes, OwnedSemaphorePermit)>,
    ended: bool,
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
                Some(Item::Data(bytes, permit)) => self.current = Some((bytes, permit)),
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
        let (sender, mut reader) = pipe(4);
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
        let (sender, reader) = pipe(1);
        sender.send(Bytes::from_static(b"a")).await;
        let mut blocked = Box::pin(sender.send(Bytes::from_static(b"bcdef")));
        assert!(blocked.as_mut().now_or_never().is_none());
        drop(reader);
        blocked.await;
    }

    #[tokio::test]
    async fn an_end_is_an_end_of_file_and_a_loss_is_an_error() {
        let (sender, mut reader) = pipe(8);
        sender.send(Bytes::from_static(b"ab")).await;
        sender.end();
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ab");

        let (sender, mut reader) = pipe(8);
        drop(sender);
        let error = reader.read_to_string(&mut text).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
