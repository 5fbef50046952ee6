//! Calls, as ttrpc has them: <https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>. A message is
//! its length and the number of its call, both of four bytes with the highest first, a byte with its kind,
//! one with flags, and its bytes. Only calls with one request and one response are spoken.

use crate::error::{Error, Kind, Result};
use prost::Message as _;
use std::time::Duration;

#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/ttrpc.rs"));
}

pub(crate) use messages::{Request, Response, Status};

pub(crate) const HEADER: usize = 10;

/// The longest message that either side takes, bytes.
pub(crate) const LONGEST: usize = 4 << 20;

/// gRPC's codes.
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
pub(crate) const UNIMPLEMENTED: i32 = 12;
pub(crate) const INTERNAL: i32 = 13;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// A message of either side.
#[derive(Debug)]
pub(crate) enum Message {
    Request(u32, Request),
    Response(u32, Response),
}

/// A request as bytes.
pub(crate) fn request(
    call: u32,
    (service, method): (&str, &str),
    payload: Vec<u8>,
    timeout: Duration,
) -> Vec<u8> {
    let request = Request {
        service: service.to_owned(),
        method: method.to_owned(),
        payload,
        timeout_nano: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        metadata: Vec::new(),
    };
    message(call, REQUEST, &request.encode_to_vec())
}

/// A response as bytes.
pub(crate) fn response(call: u32, response: &Response) -> Vec<u8> {
    message(call, RESPONSE, &response.encode_to_vec())
}

fn message(call: u32, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(HEADER + bytes.len());
    all.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    all.extend(call.to_be_bytes());
    all.extend([kind, 0]);
    all.extend(bytes);
    all
}

/// What has come of a stream and is no whole message yet.
#[derive(Default)]
pub(crate) struct Incoming(Vec<u8>);

impl Incoming {
    /// Takes bytes, and gives the messages that are whole by now.
    ///
    /// # Errors
    /// `Closed` for what is no message of the protocol.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Message>> {
        self.0.extend(bytes);
        let mut whole = Vec::new();
        while let Some((header, rest)) = self.0.split_first_chunk::<HEADER>() {
            let [l0, l1, l2, l3, c0, c1, c2, c3, kind, _] = *header;
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            if length > LONGEST {
                return Err(unknown(format!("a message of {length} bytes")));
            }
            let Some(body) = rest.get(..length) else { break };
            let call = u32::from_be_bytes([c0, c1, c2, c3]);
            let broken = |error: prost::DecodeError| unknown(error.to_string());
            whole.push(match kind {
                REQUEST => Message::Request(call, Request::decode(body).map_err(broken)?),
                RESPONSE => Message::Response(call, Response::decode(body).map_err(broken)?),
                kind => return Err(unknown(format!("a message of kind {kind}"))),
            });
            self.0.drain(..HEADER + length);
        }
        Ok(whole)
    }
}

fn unknown(what: String) -> Error {
    Error::new(Kind::Closed, what).context("it does not speak ttrpc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_from_whatever_pieces_it_comes_in() {
        let calls = ("a.B", "C");
        let mut bytes = request(3, calls, vec![7; 100], Duration::from_millis(2));
        let ok = Response { status: None, payload: vec![1, 2] };
        bytes.extend(response(5, &ok));
        for size in [1, 7, 1000] {
            let mut incoming = Incoming::default();
            let taken = bytes.chunks(size).flat_map(|piece| incoming.take(piece).unwrap());
            match &taken.collect::<Vec<_>>()[..] {
                [Message::Request(3, request), Message::Response(5, response)] => {
                    assert_eq!((&*request.service, &*request.method), calls);
                    assert_eq!(request.timeout_nano, 2_000_000);
                    assert_eq!((request.payload.len(), response), (100, &ok));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &[0xff, 0, 0, 0, 0, 0, 0, 1, 1, 0][..],
            &[0, 0, 0, 0, 0, 0, 0, 1, 9, 0],
            &[0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0xff, 0xff],
        ] {
            let error = Incoming::default().take(bytes).unwrap_err();
            assert_eq!(error.kind(), Kind::Closed);
            assert!(error.to_string().starts_with("it does not speak ttrpc: "), "{error}");
        }
    }
}
