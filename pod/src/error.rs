//! The one error of this crate.

use rrun_error::Chain;
use std::fmt;
use tonic::Code;

/// What class of failure an [`Error`] is; closed, so that edges map it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named thing does not exist.
    NotFound,
    /// The thing is already there, and is another one.
    Exists,
    /// The manifest, a name or a value is wrong; trying again does not help.
    Invalid,
    /// The runtime, a network peer or the kernel does not answer now.
    Unavailable,
    /// Permission is missing.
    Denied,
    /// No space, memory or other finite thing is left.
    Exhausted,
    /// A deadline passed.
    Timeout,
    /// The caller or who was asked went away, or the pod is being stopped.
    Cancelled,
    /// Valid, and not done by this version.
    Unimplemented,
    /// A bug, or a reply that breaks the contract.
    Internal,
}

/// A failure with its context, outermost first: `volume cache: mkdir /x: EROFS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    chain: Chain,
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new failure; `what` names the operation, the object and the reason.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error { kind, chain: Chain::new(what) }
    }

    /// Adds what was being done, on the way up.
    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Self {
        self.chain.push(what);
        self
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// An operating system error, its kind read from the errno.
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let kind = match error.kind() {
            K::NotFound => Kind::NotFound,
            K::AlreadyExists => Kind::Exists,
            K::PermissionDenied => Kind::Denied,
            K::StorageFull | K::QuotaExceeded | K::OutOfMemory => Kind::Exhausted,
            K::TimedOut => Kind::Timeout,
            K::InvalidInput | K::NotADirectory | K::IsADirectory => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        Error::new(kind, rrun_error::reason(error)).context(what)
    }

    /// A nix error, its kind read from the errno.
    pub fn errno(what: impl Into<String>, errno: nix::errno::Errno) -> Self {
        Error::io(what, &std::io::Error::from(errno))
    }

    /// What a runtime answered, its kind read from the code.
    pub fn status(what: impl Into<String>, status: &tonic::Status) -> Self {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::AlreadyExists => Kind::Exists,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => Kind::Invalid,
            Code::DeadlineExceeded => Kind::Timeout,
            Code::Cancelled => Kind::Cancelled,
            Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
            Code::ResourceExhausted => Kind::Exhausted,
            Code::Unimplemented => Kind::Unimplemented,
            Code::Unavailable | Code::Aborted => Kind::Unavailable,
            _ => Kind::Internal,
        };
        Error::new(kind, status.message()).context(what)
    }

    /// The innermost text: what an event or a status shows, where the context is known.
    pub fn root(&self) -> &str {
        self.chain.cause()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chain.fmt(f)
    }
}

impl std::error::Error for Error {}

/// Adds context to a result.
pub trait Context<T> {
    /// Adds what was being done, only when it failed.
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.context(what()))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::io(what(), &e))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::errno(what(), e))
    }
}
