//! The first process of a PID namespace that containers share.

use crate::plan::Plan;
use crate::{Error, Kind, Result};
use nix::unistd::Pid;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A running reaper.
#[derive(Debug)]
pub struct Reaper {
    /// Process id, seen from the caller.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its PID namespace.
    pub namespace: OwnedFd,
}

/// The reaper's program, in a sealed memfd.
///
/// # Errors
/// What the kernel says.
pub fn binary() -> Result<OwnedFd> {
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// Starts the reaper `binary` as pid 1 of a new PID namespace, in an empty read-only root, with
/// no descriptors and no capabilities, in the groups, ids, namespaces and seccomp filter of
/// `plan` (whose root and mounts are not looked at). Blocks until it runs, about a millisecond.
///
/// # Errors
/// As [`super::Child::advance`].
pub fn spawn(
    plan: &Plan,
    slots: &[BorrowedFd<'_>],
    seed: Option<BorrowedFd<'_>>,
    binary: BorrowedFd<'_>,
) -> Result<Reaper> {
    let _ = (plan, slots, seed, binary);
    Err(Error::new(Kind::Kernel, "not there yet"))
}
