//! The error of this crate.

use rrun_error::Chain;
use rrun_shim_protocol::{WireError, WireKind};
use std::fmt;

/// What sort of failure it is; each maps to one gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such pod, container or image (for this owner).
    NotFound,
    /// The name is taken by something else.
    Exists,
    /// The request makes no sense, now or ever.
    Invalid,
    /// Not in this state; another call must come first.
    FailedPrecondition,
    /// Something that is needed does not answer; later may do.
    Unavailable,
    /// Not this caller's.
    Denied,
    /// Out of some resource.
    Exhausted,
    /// A time limit has passed.
    Timeout,
    /// The work was given up before its end.
    Cancelled,
    /// Not built yet, or refused by this host.
    Unimplemented,
    /// Everything else: the disk, the kernel, a broken record.
    Internal,
}

/// What failed: its sort, and the contexts from the operation down to the cause.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    chain: Chain,
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error with its innermost message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, chain: Chain::new(message) }
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error seen from one level further up: `create web`, `read pod.json`.
    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Error {
        self.chain.push(what);
        self
    }

    /// Contexts from the operation down to the cause.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter()
    }

    /// An error of another crate, with its contexts from the operation down.
    pub(crate) fn from_chain<'a>(kind: Kind, chain: impl Iterator<Item = &'a str>) -> Error {
        Error { kind, chain: Chain::from_outermost(chain) }
    }

    /// No such thing.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// A senseless request.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Error {
        Error::new(Kind::FailedPrecondition, message)
    }

    /// An OS error met while doing `what`.
    pub(crate) fn os(what: impl Into<String>, error: &std::io::Error) -> Error {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Exhausted,
            _ => Kind::Internal,
        };
        Error::new(kind, rrun_error::reason(error)).context(what)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chain.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Error {
        let kind = match wire.kind {
            WireKind::NotFound => Kind::NotFound,
            WireKind::Exists => Kind::Exists,
            WireKind::Invalid => Kind::Invalid,
            WireKind::Exec(_) => Kind::FailedPrecondition,
            WireKind::Kernel => Kind::Internal,
        };
        Error { kind, chain: Chain::from_outermost(wire.chain) }
    }
}

impl From<rrun_images::Error> for Error {
    fn from(error: rrun_images::Error) -> Error {
        use rrun_images::Kind as Images;
        let kind = match error.kind() {
            Images::NotFound => Kind::NotFound,
            Images::Exists => Kind::Exists,
            Images::Invalid => Kind::Invalid,
            Images::Denied => Kind::Denied,
            Images::Unavailable => Kind::Unavailable,
            Images::Exhausted => Kind::Exhausted,
            Images::Cancelled => Kind::Cancelled,
            Images::Internal => Kind::Internal,
        };
        Error::from_chain(kind, error.chain())
    }
}

impl From<rrun_cni::Error> for Error {
    fn from(error: rrun_cni::Error) -> Error {
        use rrun_cni::Kind as Network;
        let kind = match error.kind() {
            Network::NotFound => Kind::NotFound,
            // The pod does not exist; something else has what it asks for.
            Network::Exists => Kind::FailedPrecondition,
            Network::Invalid => Kind::Invalid,
            Network::Unavailable => Kind::Unavailable,
            Network::Exhausted => Kind::Exhausted,
            Network::Timeout => Kind::Timeout,
            Network::Internal => Kind::Internal,
        };
        Error::from_chain(kind, error.chain())
    }
}

impl From<rrun_runtime::Error> for Error {
    fn from(error: rrun_runtime::Error) -> Error {
        let kind = match error.kind() {
            rrun_runtime::Kind::Invalid => Kind::Invalid,
            rrun_runtime::Kind::NotFound => Kind::NotFound,
            _ => Kind::Internal,
        };
        Error::from_chain(kind, error.chain())
    }
}

/// Adds a context on the way up; an error of another crate becomes ours by `From`.
pub(crate) trait Context<T> {
    /// Adds the context that `what` words.
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().context(what()))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::os(what(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_operation_down_to_the_cause() {
        let error = Error::invalid("EPERM").context("bind /etc/hosts").context("create web");
        assert_eq!(error.to_string(), "create web: bind /etc/hosts: EPERM");
        assert_eq!(error.kind(), Kind::Invalid);
    }

    #[test]
    fn a_chain_that_crossed_a_process_border_keeps_its_order() {
        let wire = WireError { kind: WireKind::Kernel, chain: vec!["a".into(), "b".into()] };
        assert_eq!(Error::from(wire).context("top").to_string(), "top: a: b");
    }
}
