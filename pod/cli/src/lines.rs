//! Lines of containers on standard output.

use rrun_pod::supervise::logs::{Piece, Stream};
use std::io::{self, Write};

/// Prints pieces of lines as they come. A line that has not ended is shown, and broken off when
/// something else must be shown before it goes on.
pub struct Lines<W> {
    out: W,
    with_name: bool,
    /// Before the container's name: nothing, or `pod/`.
    pod: String,
    open: Option<(String, u64, Stream)>,
}

impl<W: Write> Lines<W> {
    /// With the container's name before each line, or as the container wrote it.
    pub fn new(out: W, with_name: bool) -> Lines<W> {
        Lines { out, with_name, pod: String::new(), open: None }
    }

    /// With this before the container's name.
    pub fn of_pod(mut self, pod: &str) -> Lines<W> {
        pod.clone_into(&mut self.pod);
        self
    }

    /// Shows a piece.
    pub fn show(&mut self, piece: &Piece<'_>) -> io::Result<()> {
        let goes_on = self.open.as_ref().is_some_and(|(container, run, stream)| {
            container == piece.container && *run == piece.run && *stream == piece.stream
        });
        let mut bytes = Vec::with_capacity(piece.text.len() + 32);
        if !goes_on {
            if self.open.take().is_some() {
                bytes.push(b'\n');
            }
            if self.with_name {
                bytes.extend_from_slice(format!("{}{} | ", self.pod, piece.container).as_bytes());
            }
        }
        bytes.extend_from_slice(piece.text);
        if piece.ends {
            bytes.push(b'\n');
            self.open = None;
        } else {
            self.open = Some((piece.container.to_owned(), piece.run, piece.stream));
        }
        self.out.write_all(&bytes)?;
        self.out.flush()
    }

    /// Begins a new line, if one is open.
    pub fn break_off(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(_) => self.out.write_all(b"\n").and_then(|()| self.out.flush()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown((with_name, pod): (bool, &str), pieces: &[(&str, Stream, &str, bool)]) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, with_name).of_pod(pod);
        for (container, stream, text, ends) in pieces {
            let (stream, ends, text) = (*stream, *ends, text.as_bytes());
            lines.show(&Piece { container, run: 0, stream, time: "t", text, ends }).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_that_has_not_ended_is_shown_and_goes_on_or_is_broken_off() {
        use Stream::{Stderr, Stdout};
        let pieces = [
            ("a", Stdout, "one", true),
            ("a", Stdout, "pro", false),
            ("a", Stdout, "mpt> ", false),
            ("a", Stderr, "oops", true),
            ("b", Stdout, "all there is", false),
        ];
        assert_eq!(shown((false, ""), &pieces), "one\nprompt> \noops\nall there is");
        let named = "a | one\na | prompt> \na | oops\nb | all there is";
        assert_eq!(shown((true, ""), &pieces), named);
        let of_pod = named.replace("a | ", "web/a | ").replace("b | ", "web/b | ");
        assert_eq!(shown((true, "web/"), &pieces), of_pod);
    }
}
