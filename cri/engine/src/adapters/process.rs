//! Waiting for processes.

use crate::blocking::blocking;
use crate::error::{Context, Result};
use nix::poll::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Waits for the end of a process that is not a child, or with POLLHUP for its being reaped too;
/// whether it has come within `limit`.
pub(super) async fn over(process: &OwnedFd, what: PollFlags, limit: Duration) -> Result<bool> {
    let process = process.try_clone().context(|| "duplicate a pidfd")?;
    let milliseconds = u16::try_from(limit.as_millis()).unwrap_or(u16::MAX);
    blocking(move || {
        let mut watched = [PollFd::new(process.as_fd(), what)];
        let ready = poll(&mut watched, milliseconds).map_err(io::Error::from);
        Ok(ready.context(|| "wait for a process")? > 0)
    })
    .await
}
