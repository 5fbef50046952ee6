//! The container log of CRI: `<RFC 3339 time> <stream> <P|F> <bytes>`, a line each.
//!
//! The shim writes it; the daemon does when a shim has died and left unread output. Pure: bytes
//! in, bytes out.

pub use rrun_sys::time::Timestamp;

/// The longest piece of a line; a longer line goes out as `P` pieces of exactly this length.
pub const MAX_PIECE: usize = 16384;

/// The length of what stands before the bytes.
const HEADER: usize = "0000-00-00T00:00:00.000000000Z stdout F ".len();

/// Which of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `stdout`, and all of a terminal.
    Stdout,
    /// `stderr`
    Stderr,
}

/// Turns the output of one stream into log lines.
#[derive(Debug)]
pub struct Formatter {
    stream: Stream,
    /// What has come of a line that has not ended.
    open: Vec<u8>,
}

impl Formatter {
    /// A formatter at the start of a line.
    pub fn new(stream: Stream) -> Self {
        Formatter::resume(stream, Vec::new())
    }

    /// A formatter after `open`, the beginning of a line.
    pub fn resume(stream: Stream, open: Vec<u8>) -> Self {
        Formatter { stream, open }
    }

    /// The beginning of a line that has not ended.
    pub fn open(&self) -> &[u8] {
        &self.open
    }

    /// Appends to `out` what `bytes`, read at `at` (nanoseconds since the epoch), complete.
    pub fn feed(&mut self, mut bytes: &[u8], at: &Timestamp, out: &mut Vec<u8>) {
        while let Some(end) = memchr(bytes) {
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            if self.open.is_empty() && line.len() <= MAX_PIECE {
                self.piece(at, b'F', strip_cr(line), out);
            } else {
                self.open.extend_from_slice(line);
                self.full_pieces(at, out);
                let rest = std::mem::take(&mut self.open);
                self.piece(at, b'F', strip_cr(&rest), out);
            }
        }
        self.open.extend_from_slice(bytes);
        self.full_pieces(at, out);
    }

    /// Appends to `out` the rest of a line that will not end.
    pub fn finish(&mut self, at: &Timestamp, out: &mut Vec<u8>) {
        let rest = std::mem::take(&mut self.open);
        if !rest.is_empty() {
            self.piece(at, b'P', &rest, out);
        }
    }

    /// Emits whole pieces of the open line. One byte more than a piece must be there: a line of
    /// exactly one piece is an `F`.
    fn full_pieces(&mut self, at: &Timestamp, out: &mut Vec<u8>) {
        let mut done = 0;
        while self.open.len() - done > MAX_PIECE {
            self.piece(at, b'P', &self.open[done..done + MAX_PIECE], out);
            done += MAX_PIECE;
        }
        self.open.drain(..done);
    }

    fn piece(&self, at: &Timestamp, tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(at.as_bytes());
        out.extend_from_slice(match self.stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        });
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(bytes);
        out.push(b'\n');
    }
}

/// Bytes of output in lines of a log, as they are in it: a piece's newline is the log's own.
pub fn output_in(lines: &[u8]) -> u64 {
    let output = |line: &[u8]| {
        let own = line.get(HEADER - 2) == Some(&b'P');
        line.len().saturating_sub(HEADER + usize::from(own)) as u64
    };
    lines.split_inclusive(|byte| *byte == b'\n').map(output).sum()
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(chunks: &[&[u8]]) -> String {
        let mut formatter = Formatter::new(Stream::Stdout);
        let mut out = Vec::new();
        for chunk in chunks {
            formatter.feed(chunk, &Timestamp::new(0), &mut out);
        }
        formatter.finish(&Timestamp::new(0), &mut out);
        String::from_utf8(out).unwrap().replace("1970-01-01T00:00:00.000000000Z stdout ", "")
    }

    #[test]
    fn lines_end_with_f_and_what_never_ends_with_p() {
        assert_eq!(log(&[b"a\nb\r\n\nc"]), "F a\nF b\nF \nP c\n");
        assert_eq!(log(&[b"a", b"b\n", b"c"]), "F ab\nP c\n");
        assert_eq!(log(&[]), "");
    }

    #[test]
    fn lines_tell_how_much_of_the_output_they_hold() {
        for output in [&b""[..], b"\n", b"a\nb\n\nc", &[b'x'; 2 * MAX_PIECE + 1]] {
            let mut formatter = Formatter::new(Stream::Stderr);
            let mut lines = Vec::new();
            formatter.feed(output, &Timestamp::new(0), &mut lines);
            formatter.finish(&Timestamp::new(0), &mut lines);
            assert_eq!(output_in(&lines), output.len() as u64);
        }
    }

    #[test]
    fn a_long_line_goes_out_in_pieces_of_exactly_16384_bytes() {
        let long = vec![b'x'; 2 * MAX_PIECE + 1];
        let mut line = long.clone();
        line.push(b'\n');
        let piece = "x".repeat(MAX_PIECE);
        let expected = format!("P {piece}\nP {piece}\nF x\n");
        assert_eq!(log(&[&line]), expected);
        let (head, tail) = line.split_at(MAX_PIECE + 7);
        assert_eq!(log(&[head, tail]), expected);
        assert_eq!(log(&[&long[..MAX_PIECE], b"\n"]), format!("F {piece}\n"));
    }
}
