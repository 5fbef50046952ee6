//! A byte stream in binary messages, whose boundaries mean nothing: SPDY goes through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{Sink, SinkExt, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::StreamReader;

use super::super::chunks::CHUNK;
use super::super::wire::Wire;
use super::{adopt, normal_close};

/// The two halves of the stream. The end of the writer is a normal close.
pub(in super::super) async fn tunnel(
    wire: Wire,
    early: &[u8],
) -> (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static) {
    let (sink, messages) = adopt(wire, early).await.split();
    let bytes = messages.filter_map(|message| future::ready(data(message)));
    (StreamReader::new(bytes), Writer { sink, closed: false })
}

fn data(message: Result<Message, Error>) -> Option<io::Result<Bytes>> {
    match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Text(_)) => {
            Some(Err(io::Error::new(io::ErrorKind::InvalidData, "text in a tunnel")))
        }
        // Pings and closes are answered by tungstenite.
        Ok(_) => None,
        Err(e) => Some(Err(io::Error::other(e))),
    }
}

struct Writer {
    sink: SplitSink<WebSocketStream<Wire>, Message>,
    closed: bool,
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        ready!(self.sink.poll_ready_unpin(cx)).map_err(io::Error::other)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        self.sink.start_send_unpin(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sink).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(self.sink.poll_ready_unpin(cx)).map_err(io::Error::other)?;
            self.sink.start_send_unpin(normal_close()).map_err(io::Error::other)?;
            self.closed = true;
        }
        self.poll_flush(cx)
    }
}
