//! A connection to a port of a pod over SPDY/3.1, as `kubectl port-forward` has it and every CRI server
//! knows it: a stream for errors and one for data. Each half of a stream ends by itself, which the
//! channels of WebSocket's protocol for ports cannot.
//!
//! There is no more of SPDY here than such a connection needs: header blocks are zlib's without being
//! compressed, and those of the server, which say nothing, are passed over.

use anyhow::{Context as _, Result, bail};
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf, sink};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The stream of errors: the server alone writes.
pub const ERROR: u32 = 1;
/// The stream of data.
pub const DATA: u32 = 3;

/// Kinds of control frames.
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;

/// The flag of a stream's last frame.
const FIN: u8 = 1;
const HEADER: usize = 8;
/// Bytes of a frame that are handed over at a time.
const CHUNK: usize = 16 << 10;
/// Longest head of an answer over HTTP.
const HEAD: u64 = 16 << 10;

/// What comes from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes of a stream.
    Bytes(u32, Vec<u8>),
    /// The server has said all on a stream.
    End(u32),
}

/// The server's side.
pub struct Reader {
    io: BufReader<OwnedReadHalf>,
    /// The stream, the bytes to come, and whether they are the last, of a frame that is read.
    frame: Option<(u32, usize, bool)>,
}

/// Ours.
pub struct Writer(OwnedWriteHalf);

/// Connects to a port by the URL that a CRI server has given.
pub async fn connect(url: &str, port: u16) -> Result<(Reader, Writer)> {
    let rest = url.strip_prefix("http://").context("only http is spoken here")?;
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        bail!("it is no URL");
    }
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let (input, output) = TcpStream::connect(address).await?.into_split();
    let (mut input, mut output) = (BufReader::new(input), output);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    output.write_all(request.as_bytes()).await?;
    let status = head(&mut input).await?;
    if status.split(' ').nth(1) != Some("101") {
        bail!("the server does not speak SPDY/3.1: {status}");
    }
    let mut writer = Writer(output);
    writer.0.write_all(&open(port)).await?;
    Ok((Reader { io: input, frame: None }, writer))
}

/// Reads the head of an answer: its first line.
async fn head(input: &mut BufReader<OwnedReadHalf>) -> Result<String> {
    let mut lines = input.take(HEAD).lines();
    let status = lines.next_line().await?.context("the server answers nothing")?;
    while !lines.next_line().await?.context("the server's answer has no end")?.is_empty() {}
    Ok(status)
}

/// Opens both streams; that of errors is ended on our side.
fn open(port: u16) -> Vec<u8> {
    let port = port.to_string();
    let mut frames = Vec::new();
    for (stream, kind) in [(ERROR, "error"), (DATA, "data")] {
        let headers = [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
        // The zlib stream begins with the first block and goes on with the next.
        let block = block(&headers, stream == ERROR);
        let mut payload = stream.to_be_bytes().to_vec();
        // No other stream, no priority, no slot.
        payload.extend([0; 6]);
        payload.extend(block);
        frames.extend([0x80, 3]);
        frames.extend(SYN_STREAM.to_be_bytes());
        frames.extend(length(0, payload.len()));
        frames.extend(payload);
    }
    frames.extend(frame(ERROR, FIN, b""));
    frames
}

/// Names and values as one stored block of zlib (RFC 1950, 1951), and the empty one that tells the reader
/// that all is there.
fn block(headers: &[(&str, &str)], is_first: bool) -> Vec<u8> {
    let mut text = (headers.len() as u32).to_be_bytes().to_vec();
    for part in headers.iter().flat_map(|(name, value)| [name, value]) {
        text.extend((part.len() as u32).to_be_bytes());
        text.extend(part.as_bytes());
    }
    let mut block = if is_first { vec![0x78, 0x01] } else { Vec::new() };
    for stored in [text.as_slice(), b""] {
        let length = stored.len() as u16;
        block.push(0);
        block.extend(length.to_le_bytes());
        block.extend((!length).to_le_bytes());
        block.extend(stored);
    }
    block
}

/// Flags and a length of three bytes.
fn length(flags: u8, length: usize) -> [u8; 4] {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    [flags, high, middle, low]
}

fn frame(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    let head = [stream.to_be_bytes(), length(flags, bytes.len())].concat();
    [&head, bytes].concat()
}

impl Writer {
    /// Sends bytes of the data stream: far less than a frame's 16 MiB.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(&frame(DATA, 0, bytes)).await
    }

    /// Ends our half of the data stream.
    pub async fn end(&mut self) -> io::Result<()> {
        self.0.write_all(&frame(DATA, FIN, b"")).await
    }
}

impl Reader {
    /// What comes next; `None` when the connection has ended.
    pub async fn next(&mut self) -> io::Result<Option<Received>> {
        loop {
            if let Some((stream, left, is_last)) = self.frame {
                if left == 0 {
                    self.frame = None;
                    if is_last {
                        return Ok(Some(Received::End(stream)));
                    }
                    continue;
                }
                let mut bytes = vec![0; left.min(CHUNK)];
                let count = self.io.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(None);
                }
                bytes.truncate(count);
                self.frame = Some((stream, left - count, is_last));
                return Ok(Some(Received::Bytes(stream, bytes)));
            }
            let mut header = [0; HEADER];
            match self.io.read_exact(&mut header).await {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(e) => return Err(e),
            }
            let [a, b, c, d, flags, high, middle, low] = header;
            let length = u32::from_be_bytes([0, high, middle, low]);
            if a & 0x80 == 0 {
                let stream = u32::from_be_bytes([a, b, c, d]);
                self.frame = Some((stream, length as usize, flags & FIN != 0));
                continue;
            }
            let mut rest = length;
            let mut reset = None;
            if u16::from_be_bytes([c, d]) == RST_STREAM && length >= 4 {
                reset = Some(self.io.read_u32().await?);
                rest -= 4;
            }
            copy_buf(&mut (&mut self.io).take(rest.into()), &mut sink()).await?;
            // Replies, settings and the like say nothing; of CRI servers none pings.
            if let Some(stream) = reset {
                return Ok(Some(Received::End(stream)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Asks a server that says `answer` and ends: the connection, and the server's side of it.
    async fn ask(answer: &[u8]) -> (Result<(Reader, Writer)>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/portforward/x", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        let (connected, stream) = tokio::join!(connect(&url, 80), server);
        (connected, stream)
    }

    #[tokio::test]
    async fn our_half_ends_while_the_pods_goes_on_and_what_is_no_data_is_passed_over() {
        let frames = [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n".to_vec(),
            // A reply to the first stream, then an end of errors.
            b"\x80\x03\0\x02\0\0\0\x06\0\0\0\x01xy".to_vec(),
            frame(ERROR, FIN, b""),
            frame(DATA, 0, b"one"),
            frame(DATA, FIN, b"two"),
            b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x03\0\0\0\x05".to_vec(),
        ];
        let (connected, mut server) = ask(&frames.concat()).await;
        let (mut reader, mut writer) = connected.unwrap();
        writer.send(b"hello").await.unwrap();
        writer.end().await.unwrap();
        let bytes = |text: &[u8]| Some(Received::Bytes(DATA, text.to_vec()));
        let end = |stream| Some(Received::End(stream));
        let all = [end(ERROR), bytes(b"one"), bytes(b"two"), end(DATA), end(DATA), None];
        for expected in all {
            assert_eq!(reader.next().await.unwrap(), expected);
        }
        drop((reader, writer));
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).await.unwrap();
        assert!(sent.starts_with(b"POST /portforward/x HTTP/1.1\r\n"));
        assert!(sent.ends_with(&[frame(DATA, 0, b"hello"), frame(DATA, FIN, b"")].concat()));
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_it_is_told_by_its_answer() {
        for (answer, why) in [
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "SPDY/3.1: HTTP/1.1 403 Forbidden"),
            ("", "answers nothing"),
            ("HTTP/1.1 101 Switching Protocols\r\n", "has no end"),
        ] {
            let error = ask(answer.as_bytes()).await.0.err().unwrap().to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }

    #[test]
    fn header_blocks_are_one_zlib_stream_of_stored_blocks() {
        let first = block(&[("a", "b")], true);
        let text = b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01b";
        assert_eq!(first[..7], [0x78, 0x01, 0, 14, 0, 241, 255]);
        assert_eq!(first[7..21], text[..]);
        assert_eq!(first[21..], [0, 0, 0, 255, 255]);
        assert_eq!(block(&[("a", "b")], false), first[2..]);
        // RFC 1950: the two bytes are a multiple of 31.
        assert_eq!(u16::from_be_bytes([first[0], first[1]]) % 31, 0);
    }
}
