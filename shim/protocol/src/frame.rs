//! Frames: a header of 12 bytes, then a message in CBOR. The header is frozen: whatever a message
//! turns out to be, its end and the number to answer are known.
//!
//! | bytes | meaning (little endian) |
//! |---|---|
//! | 0–3 | length of the body |
//! | 4–7 | number of the request that this asks or answers; 0 for an event |
//! | 8 | 0 request, 1 reply, 2 event; others are passed over |
//! | 9 | descriptors that belong to this frame |
//! | 10–11 | 0, not read |

use crate::error::{Error, Kind};
use minicbor::{Decode, Encode};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Length of a frame's header.
const HEADER: usize = 12;

/// The longest body: a plan with the largest environment that execve(2) takes is 2 MiB.
const MAX_BODY: usize = 4 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A [`crate::Request`].
    Request,
    /// A [`crate::Reply`].
    Reply,
    /// A [`crate::Event`].
    Event,
    /// Something that this code does not know.
    Unknown,
}

/// One whole frame as it came in.
#[derive(Debug)]
pub struct Frame {
    /// What it carries.
    pub carries: FrameKind,
    /// Which request it asks or answers.
    pub number: u32,
    /// The undecoded message.
    pub body: Vec<u8>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

impl Frame {
    /// Decodes the body.
    ///
    /// # Errors
    /// [`Kind::Protocol`] when the body is not a `T`, or has an enum variant in it that this code
    /// does not know.
    pub fn message<T: for<'b> Decode<'b, ()>>(&self) -> Result<T, Error> {
        minicbor::decode(&self.body)
            .map_err(|e| Error::new(Kind::Protocol, format!("decode {:?}: {e}", self.carries)))
    }
}

/// The bytes of a frame; the `fds` descriptors are sent beside them.
///
/// # Errors
/// [`Kind::Protocol`] when the message is longer than a frame may be.
pub fn encode(
    carries: FrameKind,
    number: u32,
    message: &impl Encode<()>,
    fds: usize,
) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; HEADER];
    minicbor::encode(message, &mut bytes)
        .map_err(|e| Error::new(Kind::Protocol, format!("encode {carries:?}: {e}")))?;
    let body = bytes.len() - HEADER;
    if body > MAX_BODY || fds > rrun_sys::fdpass::MAX_FDS {
        let what = format!("encode {carries:?}: {body} bytes and {fds} descriptors are too many");
        return Err(Error::new(Kind::Protocol, what));
    }
    bytes[0..4].copy_from_slice(&(body as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    bytes[8] = carries as u8;
    bytes[9] = fds as u8;
    Ok(bytes)
}

/// Puts frames together from what a socket gives.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Decoder {
    /// Takes what one read brought.
    pub fn feed(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// [`Kind::Protocol`] on a header that no peer of ours writes; the connection is of no more
    /// use then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(header) = self.bytes.get(..HEADER) else { return Ok(None) };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (length, number) = (word(0) as usize, word(4));
        let carries = match header[8] {
            0 => FrameKind::Request,
            1 => FrameKind::Reply,
            2 => FrameKind::Event,
            _ => FrameKind::Unknown,
        };
        let count = usize::from(header[9]);
        if length > MAX_BODY || count > rrun_sys::fdpass::MAX_FDS {
            return Err(nonsense(format!("a frame of {length} bytes with {count} descriptors")));
        }
        if self.bytes.len() < HEADER + length {
            return Ok(None);
        }
        if self.fds.len() < count {
            return Err(nonsense(format!("{} descriptors of {count}", self.fds.len())));
        }
        let body = self.bytes[HEADER..HEADER + length].to_vec();
        self.bytes.drain(..HEADER + length);
        if self.bytes.is_empty() {
            // A shim lives for months after one large plan.
            self.bytes = Vec::new();
        }
        Ok(Some(Frame { carries, number, body, fds: self.fds.drain(..count).collect() }))
    }
}

fn nonsense(what: String) -> Error {
    Error::new(Kind::Protocol, format!("decode frame: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Reply, Request};

    #[test]
    fn a_frame_survives_being_cut_anywhere() {
        let start = Request::Start { container: "c".into() };
        let mut bytes = encode(FrameKind::Request, 7, &start, 0).unwrap();
        bytes.extend(encode(FrameKind::Reply, 7, &Reply::Done, 0).unwrap());
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes[..cut], Vec::new());
            let mut frames = Vec::new();
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
            decoder.feed(&bytes[cut..], Vec::new());
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
            assert_eq!(frames.len(), 2);
            assert_eq!(frames[0].message::<Request>().unwrap(), start);
            assert_eq!((frames[1].carries, frames[1].number), (FrameKind::Reply, 7));
        }
    }

    #[test]
    fn a_frame_too_long_or_short_of_descriptors_is_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&[0xff; HEADER], Vec::new());
        assert!(decoder.next_frame().is_err());
        let mut bytes = encode(FrameKind::Reply, 1, &Reply::Done, 0).unwrap();
        bytes[9] = 1;
        let mut decoder = Decoder::default();
        decoder.feed(&bytes, Vec::new());
        assert!(decoder.next_frame().is_err());
    }
}
