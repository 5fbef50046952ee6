//! Frames: a pure codec. Control frames are small and come whole; data comes as it arrives.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest control frame that is taken, in bytes: headers here are three short lines.
const LONGEST_CONTROL: usize = 64 << 10;
const HEADER: usize = 8;
const VERSION: u16 = 0x8003;
const FIN: u8 = 1;

mod kind {
    pub const SYN_STREAM: u16 = 1;
    pub const SYN_REPLY: u16 = 2;
    pub const RST_STREAM: u16 = 3;
    pub const PING: u16 = 6;
    pub const GOAWAY: u16 = 7;
    pub const HEADERS: u16 = 8;
}

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Reset {
    Protocol = 1,
    Refused = 3,
    Cancel = 5,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// `block` is the compressed header block.
    SynStream {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    /// Headers that say nothing to a server, but belong to the compressor's stream.
    Headers {
        block: Bytes,
    },
    /// A part of a data frame; `fin` comes with its last part.
    Data {
        id: u32,
        fin: bool,
        bytes: Bytes,
    },
    Reset {
        id: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings, window updates, and what a later minor version may bring.
    Ignored,
}

/// Bytes that are no SPDY/3.1: the connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Version(u16),
    TooLong { kind: u16, length: usize },
    Length { kind: u16, length: usize },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Version(v) => write!(f, "control frame of version {:#06x}", v),
            Malformed::TooLong { kind, length } => {
                write!(f, "control frame {kind} of {length} bytes: more than {LONGEST_CONTROL}")
            }
            Malformed::Length { kind, length } => {
                write!(f, "control frame {kind} cannot have {length} bytes")
            }
        }
    }
}

/// Takes frames out of a byte stream.
#[derive(Default)]
pub(super) struct Decoder {
    /// The data frame that is being received: stream, FIN at its end, bytes to come.
    open: Option<(u32, bool, usize)>,
}

impl Decoder {
    /// The next frame or part of one; `None` wants more bytes. Consumes what it answers.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Received>, Malformed> {
        if self.open.is_none() {
            let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
            let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
            if header[0] & 0x80 != 0 {
                return control(*header, length, input);
            }
            let id = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
            self.open = Some((id, header[4] & FIN != 0, length));
            input.advance(HEADER);
        }
        Ok(self.data(input))
    }

    fn data(&mut self, input: &mut BytesMut) -> Option<Received> {
        let (id, fin, left) = self.open?;
        if left > 0 && input.is_empty() {
            return None;
        }
        let bytes = input.split_to(left.min(input.len())).freeze();
        let left = left - bytes.len();
        self.open = (left > 0).then_some((id, fin, left));
        Some(Received::Data { id, fin: fin && left == 0, bytes })
    }
}

fn control(
    header: [u8; HEADER],
    length: usize,
    input: &mut BytesMut,
) -> Result<Option<Received>, Malformed> {
    let version = u16::from_be_bytes([header[0], header[1]]);
    let kind = u16::from_be_bytes([header[2], header[3]]);
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    if length > LONGEST_CONTROL {
        return Err(Malformed::TooLong { kind, length });
    }
    if input.len() < HEADER + length {
        return Ok(None);
    }
    input.advance(HEADER);
    let mut payload = input.split_to(length).freeze();
    let least = match kind {
        kind::SYN_STREAM => 10,
        kind::SYN_REPLY | kind::HEADERS | kind::PING => 4,
        kind::RST_STREAM | kind::GOAWAY => 8,
        _ => 0,
    };
    if length < least {
        return Err(Malformed::Length { kind, length });
    }
    Ok(Some(match kind {
        kind::SYN_STREAM => {
            let id = stream_id(&mut payload);
            // Associated stream, priority and slot mean nothing here.
            payload.advance(6);
            Received::SynStream { id, fin: header[4] & FIN != 0, block: payload }
        }
        kind::SYN_REPLY | kind::HEADERS => {
            payload.advance(4);
            Received::Headers { block: payload }
        }
        kind::RST_STREAM => Received::Reset { id: stream_id(&mut payload) },
        kind::PING => Received::Ping { id: payload.get_u32() },
        kind::GOAWAY => Received::GoAway,
        _ => Received::Ignored,
    }))
}

fn stream_id(payload: &mut Bytes) -> u32 {
    payload.get_u32() & 0x7fff_ffff
}

/// Writes a SYN_REPLY with an already compressed header block.
pub(super) fn syn_reply(out: &mut BytesMut, id: u32, block: &[u8]) {
    put_control(out, kind::SYN_REPLY, 4 + block.len());
    out.put_u32(id);
    out.put_slice(block);
}

/// Writes a RST_STREAM.
pub(super) fn reset(out: &mut BytesMut, id: u32, status: Reset) {
    put_control(out, kind::RST_STREAM, 8);
    out.put_u32(id);
    out.put_u32(status as u32);
}

/// Writes a PING, which is an answer when the id is the client's.
pub(super) fn ping(out: &mut BytesMut, id: u32) {
    put_control(out, kind::PING, 4);
    out.put_u32(id);
}

/// Writes a GOAWAY with status 0.
pub(super) fn go_away(out: &mut BytesMut, last_good: u32) {
    put_control(out, kind::GOAWAY, 8);
    out.put_u32(last_good);
    out.put_u32(0);
}

/// Writes a data frame; `bytes` must be shorter than 16 MiB.
pub(super) fn data(out: &mut BytesMut, id: u32, bytes: &[u8], fin: bool) {
    out.put_u32(id);
    out.put_u32(u32::from(fin) << 24 | bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_control(out: &mut BytesMut, kind: u16, length: usize) {
    out.put_u16(VERSION);
    out.put_u16(kind);
    out.put_u32(length as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(bytes: &[u8]) -> Result<Vec<Received>, Malformed> {
        let mut decoder = Decoder::default();
        let mut input = BytesMut::from(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = decoder.decode(&mut input)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn each_frame_is_read() {
        let block = Bytes::from_static(b"zz");
        let table: &[(&[u8], Received)] = &[
            (
                b"\x80\x03\0\x01\x01\0\0\x0c\0\0\0\x03\0\0\0\0\xe0\0zz",
                Received::SynStream { id: 3, fin: true, block: block.clone() },
            ),
            (b"\x80\x03\0\x08\0\0\0\x06\0\0\0\x03zz", Received::Headers { block }),
            (b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x05\0\0\0\x05", Received::Reset { id: 5 }),
            (b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x07", Received::Ping { id: 7 }),
            (b"\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\0", Received::GoAway),
            (b"\x80\x03\0\x04\0\0\0\x04\0\0\0\0", Received::Ignored),
            (b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\0\x01", Received::Ignored),
            (b"\x80\x03\x12\x34\0\0\0\0", Received::Ignored),
            (
                b"\0\0\0\x05\x01\0\0\x02hi",
                Received::Data { id: 5, fin: true, bytes: Bytes::from_static(b"hi") },
            ),
            (b"\0\0\0\x05\x01\0\0\0", Received::Data { id: 5, fin: true, bytes: Bytes::new() }),
        ];
        for (bytes, want) in table {
            assert_eq!(decode_all(bytes), Ok(vec![want.clone()]), "{bytes:?}");
            for cut in 0..bytes.len().min(HEADER) {
                assert_eq!(decode_all(&bytes[..cut]), Ok(vec![]), "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn data_comes_in_parts_and_its_fin_with_the_last() {
        let mut decoder = Decoder::default();
        let mut input = BytesMut::from(&b"\0\0\0\x05\x01\0\0\x03a"[..]);
        let part = |fin, bytes| Received::Data { id: 5, fin, bytes: Bytes::from_static(bytes) };
        assert_eq!(decoder.decode(&mut input), Ok(Some(part(false, b"a"))));
        assert_eq!(decoder.decode(&mut input), Ok(None));
        input.put_slice(b"bc\0");
        assert_eq!(decoder.decode(&mut input), Ok(Some(part(true, b"bc"))));
        assert_eq!(decoder.decode(&mut input), Ok(None));
    }

    #[test]
    fn a_data_frame_of_sixteen_mebibytes_needs_no_memory_of_its_own() {
        let mut decoder = Decoder::default();
        let mut input = BytesMut::from(&b"\0\0\0\x05\0\xff\xff\xff"[..]);
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(input.capacity() < 64);
    }

    #[test]
    fn what_is_no_frame_is_refused_before_its_payload_is_waited_for() {
        let table: &[(&[u8], Malformed)] = &[
            (b"\x80\x02\0\x06\0\0\0\x04", Malformed::Version(0x8002)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Malformed::Version(0xffff)),
            (b"\x80\x03\0\x01\0\x01\0\x01", Malformed::TooLong { kind: 1, length: 65537 }),
            (b"\x80\x03\0\x06\0\0\0\x03abc", Malformed::Length { kind: 6, length: 3 }),
            (b"\x80\x03\0\x01\0\0\0\x09123456789", Malformed::Length { kind: 1, length: 9 }),
            (b"\x80\x03\0\x03\0\0\0\0", Malformed::Length { kind: 3, length: 0 }),
        ];
        for (bytes, want) in table {
            assert_eq!(decode_all(bytes), Err(want.clone()), "{bytes:?}");
        }
    }

    #[test]
    fn bytes_of_no_meaning_never_panic() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = Vec::new();
            while bytes.len() < 48 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes());
            }
            // Half of them look like a control frame of a known type.
            if state & 1 == 0 {
                bytes[..4].copy_from_slice(&[0x80, 3, 0, (state >> 8) as u8 % 10]);
                bytes[5..7].fill(0);
            }
            let _ = decode_all(&bytes);
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut out = BytesMut::new();
        data(&mut out, 7, b"hello", true);
        ping(&mut out, 9);
        reset(&mut out, 7, Reset::Cancel);
        go_away(&mut out, 7);
        syn_reply(&mut out, 7, b"block");
        let want = vec![
            Received::Data { id: 7, fin: true, bytes: Bytes::from_static(b"hello") },
            Received::Ping { id: 9 },
            Received::Reset { id: 7 },
            Received::GoAway,
            Received::Headers { block: Bytes::from_static(b"block") },
        ];
        assert_eq!(decode_all(&out), Ok(want));
    }
}
