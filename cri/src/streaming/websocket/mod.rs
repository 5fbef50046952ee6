//! WebSocket connections: channels in messages, or SPDY in them.

mod exec;
mod port_forward;
mod socket;
mod tunnel;

pub(super) use exec::exec;
pub(super) use port_forward::port_forward;
pub(super) use socket::Socket;
pub(super) use tunnel::tunnel;

use super::wire::Wire;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// Longest message that is taken, in bytes; clients send some 32 KiB.
const LONGEST: usize = 4 << 20;

/// A connection whose handshake is done.
async fn adopt(wire: Wire, early: &[u8]) -> WebSocketStream<Wire> {
    let config =
        WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    WebSocketStream::from_partially_read(wire, early.to_vec(), Role::Server, Some(config)).await
}

/// The only end that clients take for one: any other code, or none, is an error to them.
fn normal_close() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}
