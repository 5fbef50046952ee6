//! Decompression, chosen by the content: media types are wrong too often.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

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

/// A reader of the uncompressed bytes.
pub(super) fn decoder<'a>(
    source: impl BufRead + 'a,
    how: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match how {
        Compression::Plain => Box::new(source),
        // flate2 over zlib-rs: inflate in Rust, as a stream.
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        // The window is at most 128 MiB, zstd's default bound; images use 8 MiB.
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source)?),
    })
}
