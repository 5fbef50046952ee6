//! Several streams over one socket, as NRI has them: a frame is the number of its stream and its length,
//! both of four bytes with the highest first, and its bytes.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Over which the runtime calls the plugin.
pub(crate) const TO_PLUGIN: u32 = 1;
/// Over which the plugin calls the runtime.
pub(crate) const TO_RUNTIME: u32 = 2;

const HEADER: usize = 8;

/// The longest message of ttrpc with its header; no frame is longer.
const LONGEST: usize = crate::ttrpc::HEADER + crate::ttrpc::LONGEST;

/// What a plugin written in Go reads at once while it looks for the beginning of a message. It gives up
/// on a frame that is longer; what comes after it is read as a whole.
const FIRST: usize = 4096;

/// One message of ttrpc as frames of a stream.
pub(crate) fn frames(stream: u32, message: &[u8]) -> Vec<u8> {
    let (first, rest) = message.split_at(message.len().min(FIRST));
    let mut bytes = Vec::with_capacity(message.len() + 2 * HEADER);
    for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
        bytes.extend(stream.to_be_bytes());
        // A message is shorter than 4 GiB by far.
        bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// Reads a frame: its stream and its bytes. `None` at the end of the socket.
///
/// # Errors
/// Those of the socket, an end within a frame, and a length that no message has.
pub(crate) async fn read(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(u32, Vec<u8>)>> {
    let mut header = [0; HEADER];
    match from.read(&mut header).await? {
        0 => return Ok(None),
        read => from.read_exact(header.get_mut(read..).unwrap_or_default()).await?,
    };
    let [s0, s1, s2, s3, l0, l1, l2, l3] = header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > LONGEST {
        let text = format!("a frame of {length} bytes, where {LONGEST} is the most");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(Some((u32::from_be_bytes([s0, s1, s2, s3]), bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_message_begins_with_a_frame_that_fits_a_plugins_buffer() {
        let message: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        let bytes = frames(TO_RUNTIME, &message);
        let mut from = &bytes[..];
        let (stream, first) = read(&mut from).await.unwrap().unwrap();
        let (_, rest) = read(&mut from).await.unwrap().unwrap();
        assert_eq!((stream, first.len(), rest.len()), (TO_RUNTIME, FIRST, 10_000 - FIRST));
        assert_eq!([first, rest].concat(), message);
        assert!(read(&mut from).await.unwrap().is_none());
        assert_eq!(frames(TO_PLUGIN, b"ab"), [0, 0, 0, 1, 0, 0, 0, 2, b'a', b'b']);
    }

    #[tokio::test]
    async fn a_frame_without_an_end_or_longer_than_any_message_is_an_error() {
        for (bytes, words) in [
            (&[0, 0, 0, 1, 0xff, 0, 0, 0][..], "a frame of 4278190080 bytes"),
            (&[0, 0, 0, 1, 0, 0, 0, 9, 1], "early eof"),
            (&[0, 0], "early eof"),
        ] {
            let error = read(&mut &bytes[..]).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
