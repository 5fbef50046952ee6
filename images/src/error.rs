//! The crate's one error: what was being done to which object, and why it failed.

use rrun_error::{Chain, printable_line};
use std::fmt;
use std::io;
use std::time::Duration;

/// What a caller can do about an error; maps to one gRPC code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such image, manifest, platform or holder.
    NotFound,
    /// The holder's writable layer is of another image.
    Exists,
    /// A malformed reference, manifest, digest, layer or `hosts.toml`; content that does not
    /// match its digest.
    Invalid,
    /// The registry refused the credentials, or wants some (401, 403), or one side refused the
    /// other's certificate.
    Denied,
    /// The registry could not be reached, or answered 429 or 5xx to the last try; the records
    /// cannot be reached, or are of a newer version.
    Unavailable,
    /// No space, inodes or quota left.
    Exhausted,
    /// The work was abandoned.
    Cancelled,
    /// Everything else: the node's own disk, database or kernel.
    Internal,
}

/// An error with its chain of context. Reads from the operation down to the reason:
/// `pull docker.io/library/x:1: manifest: GET https://…: 404 not found`.
///
/// Cloning is cheap in the places it happens: several callers that joined one pull get one copy
/// each.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    chain: Chain,
    hint: Option<Hint>,
}

/// One part of an error's chain, in characters.
const LONGEST: usize = 1000;

/// What a failure means for whoever might try in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// There was no connection: nothing listens there, or nobody knows the name.
    Unreached,
    /// There was a connection, and whoever answered does not speak TLS.
    NotTls,
    /// It is busy (429, or 503 with a time); after the time that it says it may answer.
    Busy(Option<Duration>),
    /// It has what was asked for, and does not send parts of it (416).
    NoRanges,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without context yet.
    pub fn new(kind: Kind, reason: impl fmt::Display) -> Error {
        Error { kind, chain: Chain::new(in_short(reason)), hint: None }
    }

    pub(crate) fn invalid(reason: impl fmt::Display) -> Error {
        Error::new(Kind::Invalid, reason)
    }

    pub(crate) fn not_found(reason: impl fmt::Display) -> Error {
        Error::new(Kind::NotFound, reason)
    }

    pub(crate) fn with_hint(mut self, hint: Option<Hint>) -> Error {
        self.hint = hint;
        self
    }

    pub(crate) fn hint(&self) -> Option<Hint> {
        self.hint
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The context, outermost first, the reason last.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter()
    }

    /// Adds what was being done, on the way up.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.chain.push(in_short(what));
        self
    }
}

/// Registries, documents and layers decide what much of it says: it is one line, of a length that
/// can be read, and no terminal obeys any of it.
fn in_short(text: impl fmt::Display) -> String {
    let line = printable_line(&text.to_string());
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chain.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        // What the pipeline wrapped into an io::Error comes out as it went in.
        if let Some(inner) = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return inner.clone();
        }
        let kind = match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Kind::Invalid,
            io::ErrorKind::UnexpectedEof => Kind::Invalid,
            io::ErrorKind::TimedOut => Kind::Unavailable,
            _ => Kind::Internal,
        };
        Error::new(kind, rrun_error::reason(&e))
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(e: nix::errno::Errno) -> Error {
        io::Error::from(e).into()
    }
}

impl From<rrun_database::Error> for Error {
    fn from(e: rrun_database::Error) -> Error {
        let kind = match e.kind() {
            rrun_database::Kind::Full => Kind::Exhausted,
            rrun_database::Kind::Unavailable => Kind::Unavailable,
            rrun_database::Kind::Internal => Kind::Internal,
        };
        Error::new(kind, e).context("image records")
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Error {
        rrun_database::Error::from(e).into()
    }
}

/// Adds context to the error of a result.
pub(crate) trait Context<T> {
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().context(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_said_is_one_short_line_that_no_terminal_obeys() {
        let said = format!("\x1b]0;owned\x07{}\nERROR forged", "ä".repeat(2000));
        let error = Error::invalid(&said).context("type \x1b[2J\nx");
        let shown = error.to_string();
        assert!(shown.starts_with("type \u{fffd}[2J x: \u{fffd}]0;owned\u{fffd}ä"), "{shown}");
        assert!(shown.ends_with("ä…") && shown.chars().count() < 1100, "{shown}");
        assert!(!shown.contains(char::is_control));
    }
}
