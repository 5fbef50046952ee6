//! Header blocks: one zlib stream per direction for the whole connection, with a preset dictionary.

use std::fmt;
use std::sync::LazyLock;

use bytes::{Buf, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Most bytes that one block may unfold to, and most headers in it.
const LARGEST: usize = 8 << 10;
const MOST: u32 = 128;

/// Words of the dictionary, each with its length as u32 before it.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url \
    public set-cookie keep-alive origin";

/// The rest of the dictionary, without lengths.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416\
    417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad \
    Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
    Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
    Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,\
    deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS.split(' ') {
        dictionary.extend((word.len() as u32).to_be_bytes());
        dictionary.extend(word.replace('_', " ").bytes());
    }
    dictionary.extend(TAIL.bytes());
    dictionary
});

/// A block that cannot be read: the connection's zlib state is lost with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Zlib,
    TooLarge,
    /// Lengths that do not fit the block, or text that is not UTF-8.
    Block,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Zlib => "header block is not of the connection's zlib stream",
            Malformed::TooLarge => "header block is too large",
            Malformed::Block => "header block is not a list of names and values",
        })
    }
}

/// Names (lower case on the wire) and values; several values of a name are joined by NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of `name`, which is given in lower case.
    pub(in super::super) fn get(&self, name: &str) -> Option<&str> {
        let (_, values) = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        values.split('\0').next()
    }
}

/// The client's direction.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Inflater(Decompress::new(true))
    }

    /// Unfolds and reads a block. After an error no further block can be read.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, Malformed> {
        parse(self.inflate(block)?.into())
    }

    /// A block ends with a sync flush: its last bytes come out when all of it went in.
    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut unfolded = Vec::with_capacity(1024);
        loop {
            let before = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress_vec(block, &mut unfolded, FlushDecompress::Sync);
            let eaten = (self.0.total_in() - before.0) as usize;
            block = block.get(eaten..).ok_or(Malformed::Zlib)?;
            match result {
                Ok(Status::StreamEnd) => return Err(Malformed::Zlib),
                Ok(_) => {}
                Err(e) if e.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| Malformed::Zlib)?;
                    continue;
                }
                Err(_) => return Err(Malformed::Zlib),
            }
            let full = unfolded.len() == unfolded.capacity();
            if block.is_empty() && !full {
                return Ok(unfolded);
            }
            if unfolded.len() >= LARGEST {
                return Err(Malformed::TooLarge);
            }
            if !full && before == (self.0.total_in(), self.0.total_out()) {
                return Err(Malformed::Zlib);
            }
            unfolded.reserve(unfolded.capacity().min(LARGEST));
        }
    }
}

fn parse(mut block: Bytes) -> Result<Headers, Malformed> {
    let count = number(&mut block)?;
    if count > MOST {
        return Err(Malformed::TooLarge);
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.push((text(&mut block)?, text(&mut block)?));
    }
    Ok(Headers(headers))
}

fn number(block: &mut Bytes) -> Result<u32, Malformed> {
    block.try_get_u32().map_err(|_| Malformed::Block)
}

fn text(block: &mut Bytes) -> Result<String, Malformed> {
    let length = number(block)? as usize;
    if length > block.len() {
        return Err(Malformed::Block);
    }
    String::from_utf8(block.split_to(length).into()).map_err(|_| Malformed::Block)
}

/// Our direction. Replies carry no headers, but their empty block is part of the zlib stream.
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        // Refused only by a stream that has started; without it a client reads us as well.
        let _ = zlib.set_dictionary(&DICTIONARY);
        Deflater(zlib)
    }

    /// The next empty block.
    pub(super) fn empty(&mut self) -> Vec<u8> {
        let mut block = Vec::with_capacity(64);
        // Four zero bytes and a sync flush are far below the capacity, so nothing stays inside.
        let _ = self.0.compress_vec(&0u32.to_be_bytes(), &mut block, FlushCompress::Sync);
        block
    }
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::*;

    pub(in super::super::super) struct Client(Compress);

    impl Client {
        pub(in super::super::super) fn new() -> Self {
            let mut zlib = Compress::new(Compression::default(), true);
            zlib.set_dictionary(&DICTIONARY).unwrap();
            Client(zlib)
        }

        fn raw(&mut self, bytes: &[u8]) -> Vec<u8> {
            let mut block = Vec::with_capacity(bytes.len() + 1024);
            self.0.compress_vec(bytes, &mut block, FlushCompress::Sync).unwrap();
            block
        }

        pub(in super::super::super) fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
            let mut bytes = (headers.len() as u32).to_be_bytes().to_vec();
            for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                bytes.extend((text.len() as u32).to_be_bytes());
                bytes.extend(text.bytes());
            }
            self.raw(&bytes)
        }
    }

    #[test]
    fn the_dictionary_is_the_published_one() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (mut a, mut b) = (1u32, 0u32);
        for &byte in DICTIONARY.iter() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_of_one_connection_are_read_in_order() {
        let (mut client, mut inflater) = (Client::new(), Inflater::new());
        for kind in ["error", "stdin", "stdout"] {
            let block = client.block(&[("streamtype", kind), ("port", "80\u{0}81")]);
            let headers = inflater.read(&block).unwrap();
            assert_eq!(headers.get("streamtype"), Some(kind));
            assert_eq!(headers.get("port"), Some("80"));
            assert_eq!(headers.get("requestid"), None);
        }
    }

    #[test]
    fn a_long_block_is_read_and_a_huge_one_is_refused() {
        let (mut client, mut inflater) = (Client::new(), Inflater::new());
        let value = "v".repeat(6_000);
        let headers = inflater.read(&client.block(&[("n", &value)])).unwrap();
        assert_eq!(headers.get("n"), Some(value.as_str()));

        let bomb = client.raw(&vec![0; 10 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(inflater.inflate(&bomb), Err(Malformed::TooLarge));
    }

    #[test]
    fn malformed_blocks_are_refused() {
        let table: &[(&[u8], Malformed)] = &[
            (b"", Malformed::Block),
            (b"\0\0\0", Malformed::Block),
            (b"\0\0\0\x01", Malformed::Block),
            (b"\0\0\0\x01\0\0\0\x05abc", Malformed::Block),
            (b"\0\0\0\x01\xff\xff\xff\xff", Malformed::Block),
            (b"\0\0\0\x01\0\0\0\x01\xff\0\0\0\0", Malformed::Block),
            (b"\xff\xff\xff\xff", Malformed::TooLarge),
        ];
        for (bytes, want) in table {
            let block = Client::new().raw(bytes);
            assert_eq!(Inflater::new().read(&block).as_ref(), Err(want), "{bytes:?}");
        }
        assert_eq!(Inflater::new().read(b"not zlib at all"), Err(Malformed::Zlib));
        let block = Client::new().block(&[("a", "b")]);
        assert!(Inflater::new().read(&block[..block.len() / 2]).is_err());
    }

    #[test]
    fn empty_blocks_of_ours_are_of_one_stream() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for _ in 0..3 {
            assert_eq!(inflater.read(&deflater.empty()), Ok(Headers::default()));
        }
    }
}
