//! The error of this crate.

use rrun_error::Chain;
use std::fmt;
use std::io;

/// What sort of error, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A plugin, a namespace or a record is not there.
    NotFound,
    /// The sandbox is attached already, or another one holds the host port.
    Exists,
    /// An attachment, a network configuration or a plugin's answer makes no sense.
    Invalid,
    /// No network is configured yet, or the plugin said "try again later" (code 11).
    Unavailable,
    /// No address is left in the subnet, or no space on the disk.
    Exhausted,
    /// A plugin took too long and was killed.
    Timeout,
    /// Everything else: the kernel, the disk, a plugin that failed.
    Internal,
}

/// What was being done, to which object, and why it failed. Reads from the outside in:
/// `add: plugin bridge: failed to set bridge addr: …`.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    chain: Chain,
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with its innermost cause.
    pub fn new(kind: Kind, cause: impl fmt::Display) -> Error {
        Error { kind, chain: Chain::new(cause.to_string()) }
    }

    pub(crate) fn invalid(cause: impl fmt::Display) -> Error {
        Error::new(Kind::Invalid, cause)
    }

    /// The same error, with what was being done put before it.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.chain.push(doing.to_string());
        self
    }

    /// What sort of error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was being done, outermost first, ending with the cause.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter()
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
        let kind = match e.kind() {
            io::ErrorKind::NotFound => Kind::NotFound,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
            io::ErrorKind::TimedOut => Kind::Timeout,
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
        Error::new(kind, e).context("network records")
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Error {
        rrun_database::Error::from(e).into()
    }
}

/// Puts what was being done before an error.
pub(crate) trait Context<T> {
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().context(doing()))
    }
}
