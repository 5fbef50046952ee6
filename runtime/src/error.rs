//! The error of this crate.

use rrun_error::Chain;
use std::fmt;

/// What sort of error, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The container, or something that it names, is not there.
    NotFound,
    /// It is there already.
    Exists,
    /// The request makes no sense, now or ever.
    Invalid,
    /// The program cannot be executed: `code` is 127 when it is missing, else 126.
    Exec {
        /// The exit code that a shell would give.
        code: i32,
    },
    /// The kernel or the file system refused.
    Kernel,
    /// The process ended before it got where it should.
    Ended,
}

/// An error of this crate: what sort it is, and what was being done, outermost first.
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

impl From<nix::errno::Errno> for Error {
    fn from(errno: nix::errno::Errno) -> Error {
        use nix::errno::Errno;
        let kind = match errno {
            Errno::ENOENT | Errno::ESRCH => Kind::NotFound,
            Errno::EEXIST => Kind::Exists,
            // A value that the kernel does not take, a path that is not what it is taken for.
            Errno::EINVAL
            | Errno::ERANGE
            | Errno::ENOTDIR
            | Errno::EISDIR
            | Errno::ENAMETOOLONG => Kind::Invalid,
            _ => Kind::Kernel,
        };
        // `ENOENT: No such file or directory` says it twice; the name is what people search for.
        Error::new(kind, rrun_error::reason(&errno))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        match error.raw_os_error() {
            Some(code) => nix::errno::Errno::from_raw(code).into(),
            None => Error::new(Kind::Kernel, rrun_error::reason(&error)),
        }
    }
}

/// Puts what was being done before an error.
pub trait Context<T> {
    /// Adds `doing`, worded only when there is an error.
    ///
    /// # Errors
    /// The error, with its context.
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().context(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_outside_in() {
        let failed: std::result::Result<(), _> = Err(nix::errno::Errno::EPERM);
        let error = failed.context(|| "mount /etc/hosts").context(|| "create web").unwrap_err();
        assert_eq!(error.to_string(), "create web: mount /etc/hosts: EPERM");
        assert_eq!(error.kind(), Kind::Kernel);
    }

    #[test]
    fn a_value_that_the_kernel_does_not_take_is_invalid() {
        let failed: std::result::Result<(), _> =
            Err(std::io::Error::from_raw_os_error(libc::ERANGE));
        let error = failed.context(|| "write \"0-999\" to cpuset.cpus").unwrap_err();
        assert_eq!(error.to_string(), "write \"0-999\" to cpuset.cpus: ERANGE");
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
