//! An async writer that turns what is written into messages of a bounded queue.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Longest piece of a stream in one message, in bytes.
pub(super) const CHUNK: usize = 32 << 10;

/// Each write becomes one message, made by `wrap` from at most [`CHUNK`] bytes. A write waits while
/// the queue is full, and fails after its receiver has gone.
pub(super) struct ChunkWriter<T, F> {
    queue: PollSender<T>,
    wrap: F,
}

impl<T: Send + 'static, F: Fn(&[u8]) -> T> ChunkWriter<T, F> {
    pub(super) fn new(queue: mpsc::Sender<T>, wrap: F) -> Self {
        ChunkWriter { queue: PollSender::new(queue), wrap }
    }
}

impl<T: Send + 'static, F: Fn(&[u8]) -> T + Unpin> AsyncWrite for ChunkWriter<T, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.queue.poll_reserve(cx)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        let message = (self.wrap)(bytes);
        self.queue.send_item(message).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
