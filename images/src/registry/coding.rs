//! `Content-Encoding`: what a server or a proxy in between did to a body on its way.
//!
//! We ask for none of it (`Accept-Encoding: identity`). Some answer with it all the same.

use std::io::Write;

use bytes::{Buf, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use zstd::stream::write::Decoder as ZstdDecoder;

use crate::error::{Error, Result};

/// Coded bytes at a time. Four bytes of zstd may say 128 KiB: this much is held at most 16 MiB.
const PART: usize = 512;

/// Undoes the coding of one body, part by part, because little may become much.
pub(crate) enum Decoder {
    /// Not coded after all.
    Plain,
    /// Said to be gzip: the first byte tells.
    Gzipped,
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// Which of its two forms it has, the first byte tells.
    Deflate,
    Zlib(ZlibDecoder<Vec<u8>>),
    RawDeflate(DeflateDecoder<Vec<u8>>),
    Zstd(Box<ZstdDecoder<'static, Vec<u8>>>),
}

impl Decoder {
    /// `None` if the body comes as it is.
    ///
    /// # Errors
    /// `Invalid` for a coding that is one and that we do not know, and for one upon another: nobody
    /// sends that but to make much out of little.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Decoder>> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            for word in text.split(',').map(str::trim) {
                let decoder = match word {
                    "gzip" | "x-gzip" => Decoder::Gzipped,
                    "deflate" => Decoder::Deflate,
                    "zstd" => Decoder::Zstd(Box::new(ZstdDecoder::new(Vec::new())?)),
                    "br" | "compress" | "x-compress" | "dcb" | "dcz" => {
                        let why = format!("the answer has the unknown coding {word:?}");
                        return Err(Error::invalid(why));
                    }
                    // `identity`, and the names of character sets, formats and transports that
                    // proxies and object stores put here. The digest tells.
                    _ => continue,
                };
                if found.replace(decoder).is_some() {
                    return Err(Error::invalid("the answer has one coding upon another"));
                }
            }
        }
        Ok(found)
    }

    /// Takes a part of `coded`, the next bytes of the body, and tells what it decodes to; may be
    /// nothing yet.
    pub(crate) fn decode(&mut self, coded: &mut Bytes) -> Result<Vec<u8>> {
        let piece = &coded.split_to(coded.remaining().min(PART))[..];
        if let (Decoder::Deflate, Some(first)) = (&self, piece.first()) {
            // RFC 9110 means zlib's format, many servers send what is inside of it. A zlib stream
            // of this method begins with the method's number in the lower half.
            *self = match first & 0x0f {
                8 => Decoder::Zlib(ZlibDecoder::new(Vec::new())),
                _ => Decoder::RawDeflate(DeflateDecoder::new(Vec::new())),
            };
        }
        if let (Decoder::Gzipped, Some(first)) = (&self, piece.first()) {
            // An object store says what the object was when it was put there.
            *self = match first {
                0x1f => Decoder::Gzip(MultiGzDecoder::new(Vec::new())),
                _ => Decoder::Plain,
            };
        }
        let done = match self {
            Decoder::Plain => Ok(piece.to_vec()),
            Decoder::Deflate | Decoder::Gzipped => Ok(Vec::new()),
            Decoder::Gzip(d) => d.write_all(piece).map(|()| std::mem::take(d.get_mut())),
            Decoder::Zlib(d) => d.write_all(piece).map(|()| std::mem::take(d.get_mut())),
            Decoder::RawDeflate(d) => d.write_all(piece).map(|()| std::mem::take(d.get_mut())),
            Decoder::Zstd(d) => d.write_all(piece).map(|()| std::mem::take(d.get_mut())),
        };
        done.map_err(broken)
    }

    /// What is left at the body's end.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        let done = match self {
            Decoder::Plain | Decoder::Deflate | Decoder::Gzipped => Ok(Vec::new()),
            Decoder::Gzip(mut d) => d.try_finish().map(|()| std::mem::take(d.get_mut())),
            Decoder::Zlib(mut d) => d.try_finish().map(|()| std::mem::take(d.get_mut())),
            Decoder::RawDeflate(mut d) => d.try_finish().map(|()| std::mem::take(d.get_mut())),
            Decoder::Zstd(mut d) => d.flush().map(|()| std::mem::take(d.get_mut())),
        };
        done.map_err(broken)
    }
}

fn broken(e: std::io::Error) -> Error {
    Error::invalid(format_args!("the answer's content coding: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Read;

    fn decode(coding: &'static str, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        let headers = [(CONTENT_ENCODING, coding.parse().unwrap())].into_iter().collect();
        let Some(mut decoder) = Decoder::of(&headers)? else { return Ok(None) };
        let mut all = Vec::new();
        for piece in bytes.chunks(3) {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                all.extend(decoder.decode(&mut piece)?);
            }
        }
        all.extend(decoder.finish()?);
        Ok(Some(all))
    }

    #[test]
    fn every_coding_is_undone_piece_by_piece_and_an_unknown_one_is_named() {
        let text = "some text, some text, some text".repeat(50).into_bytes();
        let gzip = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        let table = [
            ("gzip", gzip(&text)),
            ("X-GZIP", gzip(&text)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("zstd", zstd::encode_all(text.as_slice(), 1).unwrap()),
            ("identity, gzip", gzip(&text)),
            ("UTF-8, gzip", gzip(&text)),
            ("gzip", text.clone()),
        ];
        for (coding, bytes) in &table {
            assert_eq!(
                decode(coding, bytes).unwrap().as_deref(),
                Some(text.as_slice()),
                "{coding}"
            );
        }
        for none in ["", "identity", " , ", "utf-8", "aws-chunked", "binary"] {
            assert!(decode(none, b"x").unwrap().is_none());
        }
        let bomb = zstd::encode_all(std::io::repeat(0).take(256 << 20), 1).unwrap();
        let mut decoder = Decoder::Zstd(Box::new(ZstdDecoder::new(Vec::new()).unwrap()));
        let (mut coded, mut total) = (Bytes::from(bomb), 0);
        while !coded.is_empty() {
            let part = decoder.decode(&mut coded).unwrap();
            assert!(part.len() <= 16 << 20, "{} bytes at once", part.len());
            total += part.len();
        }
        assert_eq!(total + decoder.finish().unwrap().len(), 256 << 20);
        let cut = &table[0].1[..table[0].1.len() / 2];
        assert!(decode("gzip", cut).is_err());
        assert!(decode("gzip, gzip", &gzip(&gzip(&text))).is_err());
        let error = decode("br", b"x").unwrap_err();
        assert!(error.to_string().contains("\"br\""), "{error}");
    }
}
