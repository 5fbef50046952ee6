//! Decompression, chosen by the content: media types are wrong too often.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, RFC 1952, any number of members.
    Gzip,
    /// zstd, RFC 8878, any number of frames.
    Zstd,
}

/// Tells from the first bytes of a layer (four are enough).
pub fn sniff(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame comes first in some seekable formats.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::Plain,
    }
}

/// The name of a compression that some have used for layers, and no registry's client undoes.
pub(super) fn foreign(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', ..] => Some("xz"),
        _ => None,
    }
}

/// The members of a gzip stream, one after the other. What follows the last one and does not begin
/// as one is left out, as gzip(1) does: padding to the end of a block, as a rule.
struct Members<R> {
    now: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.now {
            let n = member.read(to)?;
            if n > 0 || to.is_empty() {
                return Ok(n);
            }
            let Some(mut source) = self.now.take().map(GzDecoder::into_inner) else { break };
            if source.fill_buf()?.first() == Some(&0x1f) {
                self.now = Some(GzDecoder::new(source));
                continue;
            }
            // To the end: whoever verifies the stream has sent all of it.
            while let n @ 1.. = source.fill_buf()?.len() {
                source.consume(n);
            }
        }
        Ok(0)
    }
}

/// A reader of the uncompressed bytes.
pub(crate) fn decoder<'a>(
    source: impl BufRead + 'a,
    how: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match how {
        Compression::Plain => Box::new(source),
        // flate2 over zlib-rs: inflate in Rust, as a stream.
        Compression::Gzip => Box::new(Members { now: Some(GzDecoder::new(source)) }),
        // The window is at most 128 MiB, zstd's default bound; images use 8 MiB.
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source)?),
    })
}
