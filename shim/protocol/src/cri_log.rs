//! The container log of CRI: `<RFC 3339 time> <stream> <P|F> <bytes>`, a line each.
//!
//! The shim writes it; the daemon does when a shim has died and left unread output. Pure: bytes
//! in, bytes out.

/// The longest piece of a line; a longer line goes out as `P` pieces of exactly this length.
pub const MAX_PIECE: usize = 16384;

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
    pub fn feed(&mut self, mut bytes: &[u8], at: &Stamp, out: &mut Vec<u8>) {
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
    pub fn finish(&mut self, at: &Stamp, out: &mut Vec<u8>) {
        let rest = std::mem::take(&mut self.open);
        if !rest.is_empty() {
            self.piece(at, b'P', &rest, out);
        }
    }

    /// Emits whole pieces of the open line. One byte more than a piece must be there: a line of
    /// exactly one piece is an `F`.
    fn full_pieces(&mut self, at: &Stamp, out: &mut Vec<u8>) {
        let mut done = 0;
        while self.open.len() - done > MAX_PIECE {
            self.piece(at, b'P', &self.open[done..done + MAX_PIECE], out);
            done += MAX_PIECE;
        }
        self.open.drain(..done);
    }

    fn piece(&self, at: &Stamp, tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&at.text);
        out.extend_from_slice(match self.stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        });
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(bytes);
        out.push(b'\n');
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A time as the log spells it: UTC, nine digits of nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    text: [u8; 30],
}

impl Stamp {
    /// From nanoseconds since the epoch.
    pub fn new(at: i64) -> Self {
        let seconds = at.div_euclid(1_000_000_000);
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let time = seconds.rem_euclid(86_400);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], time / 3600);
        digits(&mut text[14..16], time / 60 % 60);
        digits(&mut text[17..19], time % 60);
        digits(&mut text[20..29], at.rem_euclid(1_000_000_000));
        Stamp { text }
    }
}

fn digits(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted
/// from March, so that the leap day is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(chunks: &[&[u8]]) -> String {
        let mut formatter = Formatter::new(Stream::Stdout);
        let mut out = Vec::new();
        for chunk in chunks {
            formatter.feed(chunk, &Stamp::new(0), &mut out);
        }
        formatter.finish(&Stamp::new(0), &mut out);
        String::from_utf8(out).unwrap().replace("1970-01-01T00:00:00.000000000Z stdout ", "")
    }

    #[test]
    fn lines_end_with_f_and_what_never_ends_with_p() {
        assert_eq!(log(&[b"a\nb\r\n\nc"]), "F a\nF b\nF \nP c\n");
        assert_eq!(log(&[b"a", b"b\n", b"c"]), "F ab\nP c\n");
        assert_eq!(log(&[]), "");
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

    #[test]
    fn stamps_are_rfc_3339_with_nanoseconds() {
        let text = |at| String::from_utf8(Stamp::new(at).text.to_vec()).unwrap();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(1_795_262_766_123_456_789), "2026-11-21T12:06:06.123456789Z");
    }
}
