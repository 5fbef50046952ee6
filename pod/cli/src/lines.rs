//! Lines of containers on standard output.

use rrun_pod::supervise::logs::{Piece, Stream};
use std::io::{self, Write};

/// Prints pieces of lines as they come. A line that has not ended is shown, and broken off when
/// something else must be shown before it goes on.
pub struct Lines<W> {
    out: W,
    head: Head,
    with_time: bool,
    open: Option<(String, u64, Stream)>,
}

/// What stands before each line.
pub enum Head {
    /// Nothing: the line is as the container wrote it.
    Nothing,
    /// The container's name.
    Container,
    /// The names of this pod and the container.
    Pod(String),
    /// The same as kubectl has them: `[pod/web/main]`.
    Full(String),
}

impl Head {
    fn of(&self, container: &str) -> String {
        match self {
            Head::Nothing => String::new(),
            Head::Container => format!("{container} | "),
            Head::Pod(pod) => format!("{pod}/{container} | "),
            Head::Full(pod) => format!("[pod/{pod}/{container}] "),
        }
    }
}

impl<W: Write> Lines<W> {
    /// With this before each line.
    pub fn new(out: W, head: Head) -> Lines<W> {
        Lines { out, head, with_time: false, open: None }
    }

    /// With the time of each line before it.
    pub fn with_time(self, with_time: bool) -> Lines<W> {
        Lines { with_time, ..self }
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
            bytes.extend_from_slice(self.head.of(piece.container).as_bytes());
            if self.with_time {
                bytes.extend_from_slice(format!("{} ", piece.time).as_bytes());
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

    fn shown(head: Head, with_time: bool, pieces: &[(&str, Stream, &str, bool)]) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, head).with_time(with_time);
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
        assert_eq!(shown(Head::Nothing, false, &pieces), "one\nprompt> \noops\nall there is");
        let named = "a | one\na | prompt> \na | oops\nb | all there is";
        assert_eq!(shown(Head::Container, false, &pieces), named);
        let of_pod = named.replace("a | ", "web/a | ").replace("b | ", "web/b | ");
        assert_eq!(shown(Head::Pod("web".into()), false, &pieces), of_pod);
        let full = named.replace("a | ", "[pod/web/a] t ").replace("b | ", "[pod/web/b] t ");
        assert_eq!(shown(Head::Full("web".into()), true, &pieces), full);
    }
}
