//! Changing the mounts of a container that runs.

use super::Child;
use super::compile::{self, Compiled};
use crate::plan::Mount;
use crate::{Context, Error, Kind, Result};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use rrun_sys::pidfd;
use std::os::fd::BorrowedFd;

/// Adds mounts to the container whose first process `init` is a pidfd of. Blocks as long as they
/// take. Those that came before one that cannot be made stay.
///
/// # Errors
/// The mount and the kernel's answer.
pub fn add(added: &[Mount], init: BorrowedFd<'_>) -> Result<()> {
    run(compile::add_mounts(added, init)?)
}

/// Takes away what is mounted on top at these paths, in order. Files that are open there stay so.
///
/// # Errors
/// The path and the kernel's answer: `EINVAL` where nothing is mounted.
pub fn remove(targets: &[String], init: BorrowedFd<'_>) -> Result<()> {
    run(compile::remove_mounts(targets, init)?)
}

fn run(compiled: Compiled<'_>) -> Result<()> {
    let mut child = Child::start(compiled, None, false)?;
    child.wait_running()?;
    let ended = pidfd::wait(child.pidfd(), WaitPidFlag::WEXITED);
    match ended.context(|| "wait for the process")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(Error::new(Kind::Ended, format!("the process ended: {other:?}"))),
    }
}
