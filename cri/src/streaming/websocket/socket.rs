//! Channels: the first byte of a message says which, or its first digit in the base64 protocols.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

use super::super::chunks::ChunkWriter;
use super::super::idle::Idle;
use super::super::wire::Wire;
use super::super::{IDLE, LINGER, QUEUE};
use super::{adopt, normal_close};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Binary,
    Base64,
}

/// A connection of channels. Dropped, it is cut.
pub(in super::super) struct Socket {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

/// The client's half.
pub(super) struct Incoming {
    messages: SplitStream<WebSocketStream<Wire>>,
    encoding: Encoding,
    idle: Idle,
}

/// Our half.
pub(super) struct Outgoing {
    queue: mpsc::Sender<Message>,
    encoding: Encoding,
    pub(super) protocol: &'static str,
    writing: AbortOnDropHandle<()>,
}

impl Socket {
    pub(in super::super) async fn new(wire: Wire, early: &[u8], protocol: &'static str) -> Socket {
        let (mut sink, messages) = adopt(wire, early).await.split();
        let encoding =
            if protocol.contains("base64") { Encoding::Base64 } else { Encoding::Binary };
        let (queue, mut queued) = mpsc::channel::<Message>(QUEUE);
        let idle = Idle::new();
        let writes = idle.clone();
        let writing = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(message) = queued.recv().await {
                let last = message.is_close();
                writes.touch();
                let sent = match queued.is_empty() {
                    true => sink.send(message).await,
                    false => sink.feed(message).await,
                };
                if last || sent.is_err() {
                    // Flushes a close that was only fed.
                    let _ = sink.flush().await;
                    return;
                }
            }
        }));
        Socket {
            incoming: Incoming { messages, encoding, idle },
            outgoing: Outgoing { queue, encoding, protocol, writing },
        }
    }
}

impl Incoming {
    /// The next message's channel and bytes; `None` when the client has gone, was silent for too
    /// long, or broke the protocol. Pings are answered on the way.
    pub(super) async fn next(&mut self) -> Option<(u8, Bytes)> {
        loop {
            let message = tokio::select! {
                message = self.messages.next() => message?,
                () = self.idle.expired(IDLE) => return None,
            };
            let decoded = match (message, self.encoding) {
                (Ok(Message::Binary(bytes)), Encoding::Binary) => split(bytes),
                (Ok(Message::Text(text)), Encoding::Base64) => decode(&text),
                (Ok(Message::Ping(_) | Message::Pong(_)), _) => continue,
                // tungstenite answers a close by itself when it is read on.
                (Ok(Message::Close(_)), _) => continue,
                (Ok(_), _) => return None,
                (Err(e), _) => {
                    tracing::debug!("WebSocket: {e}");
                    return None;
                }
            };
            self.idle.touch();
            // An empty message says nothing.
            let Some(decoded) = decoded else { continue };
            return Some(decoded);
        }
    }
}

fn split(mut bytes: Bytes) -> Option<(u8, Bytes)> {
    let channel = *bytes.first()?;
    Some((channel, bytes.split_off(1)))
}

fn decode(text: &str) -> Option<(u8, Bytes)> {
    let (digit, rest) = text.as_bytes().split_first()?;
    let bytes = BASE64_STANDARD.decode(rest).ok()?;
    Some((digit.wrapping_sub(b'0'), bytes.into()))
}

fn encode(encoding: Encoding, channel: u8, bytes: &[u8]) -> Message {
    match encoding {
        Encoding::Binary => {
            let mut message = BytesMut::with_capacity(1 + bytes.len());
            message.put_u8(channel);
            message.put_slice(bytes);
            Message::Binary(message.freeze())
        }
        Encoding::Base64 => {
            let mut message = String::from(char::from(b'0' + channel));
            BASE64_STANDARD.encode_string(bytes, &mut message);
            Message::text(message)
        }
    }
}

impl Outgoing {
    /// Sends one message, when the client has read what came before.
    pub(super) async fn send(&self, channel: u8, bytes: &[u8]) {
        let _ = self.queue.send(encode(self.encoding, channel, bytes)).await;
    }

    /// A channel as an async writer.
    pub(super) fn bytes(&self, channel: u8) -> impl AsyncWrite + Send + Unpin + use<> {
        let encoding = self.encoding;
        ChunkWriter::new(self.queue.clone(), move |bytes: &[u8]| encode(encoding, channel, bytes))
    }

    /// Sends what is queued, a last message and a normal close, while `discard` reads on (and
    /// answers pings) until the client closes.
    pub(super) async fn close(self, last: Option<(u8, &[u8])>, discard: impl Future<Output = ()>) {
        let close = async {
            if let Some((channel, bytes)) = last {
                self.send(channel, bytes).await;
            }
            let _ = self.queue.send(normal_close()).await;
            let _ = self.writing.await;
        };
        let mut discard = std::pin::pin!(discard);
        tokio::select! {
            () = close => {}
            () = &mut discard => return,
        }
        let _ = timeout(LINGER, discard).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_a_channel_and_bytes() {
        let binary = encode(Encoding::Binary, 1, b"hi");
        assert_eq!(binary, Message::binary(&b"\x01hi"[..]));
        assert_eq!(split(binary.into_data()), Some((1, Bytes::from_static(b"hi"))));
        let text = encode(Encoding::Base64, 3, b"hi");
        assert_eq!(text, Message::text("3aGk="));
        assert_eq!(decode("3aGk="), Some((3, Bytes::from_static(b"hi"))));
    }

    #[test]
    fn malformed_messages_are_dropped() {
        assert_eq!(split(Bytes::new()), None);
        assert_eq!(split(Bytes::from_static(b"\x04")), Some((4, Bytes::new())));
        for text in ["", "0!", "0a", "é"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(decode("0"), Some((0, Bytes::new())));
    }
}
