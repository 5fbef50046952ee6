//! Errors of the protocol's client and codec.

use crate::report::WireError;
use std::fmt;

/// What went wrong between daemon and shim.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    context: String,
}

/// Sorts of [`Error`].
#[derive(Debug)]
pub enum Kind {
    /// The shim is gone, or never was there.
    Gone,
    /// The peer speaks no version that we do, or nonsense.
    Protocol,
    /// The shim is of an earlier release and does not know what is asked.
    Older,
    /// The operating system refused.
    Os,
    /// The shim answered with an error of its own.
    Refused(WireError),
}

impl Error {
    /// An error of `kind` while doing `context`.
    pub fn new(kind: Kind, context: impl Into<String>) -> Self {
        Error { kind, context: context.into() }
    }

    pub(crate) fn os(context: impl fmt::Display, error: impl fmt::Display) -> Self {
        Error::new(Kind::Os, format!("{context}: {error}"))
    }

    /// Its sort.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Refused(error) => write!(f, "{}: {error}", self.context),
            _ => f.write_str(&self.context),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}
