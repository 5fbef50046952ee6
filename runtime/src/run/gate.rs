//! A start by another process than the one that created, as the OCI command line has it.
//!
//! The init waits on a listening socket instead of its parent's channel; whoever connects lets it
//! go, and hears how its execve went.

use super::{Child, Stdio};
use crate::plan::Plan;
use crate::{Error, Kind, Result};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// As [`super::spawn`], with an init that waits at a socket made at `gate`. The caller may end
/// after [`Child::wait_ready`].
///
/// # Errors
/// As [`super::spawn`].
pub fn spawn(
    plan: &Plan,
    slots: &[BorrowedFd<'_>],
    stdio: Option<Stdio>,
    gate: &Path,
) -> Result<Child> {
    let _ = (plan, slots, stdio, gate);
    Err(Error::new(Kind::Kernel, "not there yet"))
}

/// Lets the init behind `gate` go, waits until it runs its program, and removes the socket.
/// `plan` is the one it was made with: its steps word the error.
///
/// # Errors
/// As [`Child::advance`]; `NotFound` when nobody waits.
pub fn open(plan: &Plan, gate: &Path) -> Result<()> {
    let _ = (plan, gate);
    Err(Error::new(Kind::Kernel, "not there yet"))
}
