//! A pod's own namespaces: made, set up inside, pinned on the host.

use crate::{Error, Kind, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// A kind of namespace that needs no process to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceKind {
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
}

/// What is set inside new namespaces.
#[derive(Clone, Debug, Default)]
pub struct Setup<'a> {
    /// Host name, for a new UTS namespace.
    pub hostname: Option<&'a str>,
    /// Names below `/proc/sys` (with `/` or `.`) and values.
    pub sysctls: &'a [(String, String)],
    /// Bring up `lo`, for a new network namespace.
    pub loopback: bool,
}

/// Makes the namespaces `kinds`, one descriptor each in the same order, and sets them up. The
/// caller's own stay as they are.
///
/// # Errors
/// The name of what could not be made or set, and the kernel's answer.
pub fn make(kinds: &[NamespaceKind], setup: &Setup<'_>) -> Result<Vec<OwnedFd>> {
    let _ = (kinds, setup);
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// Binds a namespace to the file `path`, which is made (with its parents); a file that is there
/// already is used, one with a mount is refused.
///
/// # Errors
/// `Exists` when something is mounted there.
pub fn pin(namespace: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let _ = (namespace, path);
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// Takes back [`pin`]; what is gone already is done.
///
/// # Errors
/// What the kernel says.
pub fn unpin(path: &Path) -> Result<()> {
    let _ = path;
    Err(Error::new(Kind::Kernel, "not there yet"))
}
