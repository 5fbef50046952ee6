//! The error of this crate.

use rrun_error::Chain;
use std::fmt;

/// What sort of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plugin says no: whatever it was asked about fails.
    Refused,
    /// Two plugins want different things, or one wants what cannot be.
    Invalid,
    /// The plugin is not there any more, or does not speak the protocol: it is closed.
    Closed,
}

/// An error of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    chain: Chain,
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with its innermost cause.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Error {
        Error { kind, chain: Chain::new(cause) }
    }

    /// The same error, with what was being done put before it.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Error {
        self.chain.push(doing);
        self
    }

    /// What sort of error.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chain.fmt(f)
    }
}

impl std::error::Error for Error {}
